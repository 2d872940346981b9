"""What is read at once is bounded by the bytes of the documents, all of them; see `stores` for where this runs."""

from dataclasses import replace

import pytest
from bson import ObjectId

from ipam.models.audit_context import AuditContext
from ipam.models.event import Outbox
from ipam.models.job import Job, JobKind, JobState
from ipam.models.pool import Pool
from ipam.storage.query import Query
from ipam.storage.time_span import begun_within
from tests.contract.test_events import an_event, relay


@pytest.fixture(autouse=True)
def few_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ipam.storage.sizes.PAGE_MAX_BYTES", 3000)


def a_job(target: ObjectId, size: int) -> Job:
    """A job whose request has about *size* bytes."""
    return Job(
        id=ObjectId(), kind=JobKind.RESERVATION, target=target, pool=ObjectId(), subnet=target,
        request={"count": 1, "metadata": "x" * size}, reservation=ObjectId(),
    )  # fmt: skip


def sizes(jobs: list[Job]) -> list[int]:
    return [len(job.request["metadata"]) for job in jobs]


def test_a_worker_takes_as_many_jobs_as_fit(stores):
    target = ObjectId()
    jobs = [a_job(target, size) for size in (1000, 1000, 1000, 9000, 1)]
    stores.jobs.insert(*jobs)
    for expected, more in (([1000, 1000], True), ([1000], True), ([9000], True), ([1], False)):
        waiting, is_more = stores.jobs.waiting(target, 200, 60.0)
        assert (sizes(waiting), is_more) == (expected, more)
        stores.jobs.claim(waiting, 60.0)
    assert stores.jobs.waiting(target, 200, 60.0) == ([], False)


def test_a_list_of_jobs_leaves_out_what_is_large_and_reads_none_of_it(stores):
    target = ObjectId()
    jobs = [a_job(target, size) for size in (1000, 1000, 5000, 5000, 1000)]
    stores.jobs.insert(*jobs)
    token, claimed = stores.jobs.claim(jobs[:1], 60.0)
    error = {"slug": "address-taken", "detail": "y" * 4000, "facts": {"addresses": ["10.0.0.1"] * 1000}}
    stores.jobs.fail([(claimed[0], error)], token)
    query = Query().where(subnet=target)
    page = stores.jobs.page(query)
    failed, whole, large, other = page.items
    assert failed.error == {"slug": "address-taken", "detail": f"{'y' * 256}...", "facts": {"omitted": True}}
    assert (whole.request, large.request) == (jobs[1].request, {"count": 1, "omitted": True})
    assert (other.id, page.cursor(4) is not None) == (jobs[3].id, True)
    (last,) = stores.jobs.page(replace(query, cursor=page.cursor(4))).items
    assert last.request == jobs[4].request
    assert stores.jobs.get(jobs[2].id).request == jobs[2].request
    assert stores.jobs.get(jobs[0].id).error == error


@pytest.mark.parametrize(("before", "after"), [(1, 5000), (5000, 1), (5000, 5001)])
def test_large_request_is_kept_as_hooks_amended_it(stores, before, after):
    job, amended = a_job(ObjectId(), before), {"count": 1, "metadata": "y" * after}
    stores.jobs.insert(job)
    token, (claimed,) = stores.jobs.claim([job], 60.0)
    stores.jobs.save_reviews(
        [replace(claimed, request=amended, audit_context=AuditContext(amended_by="hook"))], token
    )
    assert stores.jobs.get(job.id).request == amended


def test_waiter_decodes_only_jobs_that_have_ended(stores, monkeypatch):
    jobs = [a_job(ObjectId(), 10) for _ in range(3)]
    stores.jobs.insert(*jobs)
    stores.jobs.finish(jobs[1].id)
    decoded, decode = [], Job.from_bson

    def note(bson: dict) -> Job:
        decoded.append(bson["_id"])
        return decode(bson)

    monkeypatch.setattr(Job, "from_bson", note)
    (ended,) = stores.jobs.ended(job.id for job in jobs)
    assert (ended.id, ended.state, decoded) == (jobs[1].id, JobState.SUCCEEDED, [jobs[1].id])


def test_a_page_is_decoded_as_it_is_shown(stores):
    tag = str(ObjectId())
    for _ in range(3):
        stores.pools.insert(Pool(id=ObjectId(), tags=(tag,)))
    page = stores.pools.page(Query(facets=((f"tag={tag}",),)))
    first = page.items[0]
    assert first == page.items[0]
    assert first is not page.items[0]
    assert page.items[1:] == [page.items[1], page.items[2]] == list(page.items)[1:]


def test_a_relay_moves_as_many_events_as_fit(stores):
    relay(stores)  # What other tests have left.
    path = f"/pools/{ObjectId()}"
    events = [replace(an_event(path, n), data=f'"{"x" * size}"') for n, size in enumerate((1000, 1000, 9000, 1), 1)]
    for event in events:
        stores.events.add([Outbox((event,))])
    for expected, more in ((events[:2], True), (events[2:3], True), (events[3:], False)):
        added, is_more = stores.log.added(100)
        assert ([event for one in added for event in one.outbox.events], is_more) == (expected, more)
        stores.log.settle(added, 0, 0)


def test_recovery_tells_of_as_many_outboxes_as_fit(stores):
    pools = [Pool(id=ObjectId(), metadata="x" * 700) for _ in range(3)]
    for pool in pools:
        stores.pools.insert(pool)
    for left in (3, 1, 0):
        assert sum(len(stores.pools.get(pool.id).outbox) for pool in pools) == left
        stores.events.recover(begun_within(-1))
