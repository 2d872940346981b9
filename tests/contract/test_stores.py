"""What each store promises, over the wire; what is said to be atomic is tried from several processes."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from ipaddress import ip_address
from itertools import pairwise

import pytest
from bson import ObjectId
from pyroaring import FrozenBitMap

from ipam.allocation.subnet_closing import hide_subnet
from ipam.errors import NotEmpty, NotFound, Stale, SubnetOverlap, Transient, WriteConflict
from ipam.models.address_set import AddressSet
from ipam.models.audit_context import AuditContext
from ipam.models.block import Block
from ipam.models.job import Job, JobKind, JobState
from ipam.models.lease import Lease
from ipam.models.ledger import Grant, Ledger, Release
from ipam.models.pool import Pool
from ipam.models.reservation import Reservation
from ipam.models.reserved_addresses import SubnetAddresses, lease_id, stem_of
from ipam.models.subnet import Subnet
from ipam.storage.connection import connect
from ipam.storage.idempotency import Answer
from ipam.storage.indexes import INDEXES
from ipam.storage.query import Query
from ipam.storage.stores import Stores
from ipam.storage.time_span import begun_within
from ipam.util.clock import utc_now
from tests.support.processes import PROCESSES, in_processes
from tests.support.stored import begin_release, leases_of


def a_pool(stores: Stores) -> Pool:
    pool = Pool(id=ObjectId(), name="p")
    stores.pools.insert(pool)
    return pool


def a_subnet(stores: Stores, pool: ObjectId | None = None, first: str = "10.0.0.1", size: int = 100) -> Subnet:
    start = ip_address(first)
    subnet = Subnet(id=ObjectId(), pool=pool or ObjectId(), start=start, end=start + size - 1, size=size)
    stores.subnets.insert(subnet)
    stores.ledgers.insert(ledger := Ledger.of(subnet))
    stores.subnets.activate(subnet.id)
    stores.ledgers.open(ledger)
    return stores.subnets.get(subnet.id)


def a_lease(subnet: Subnet, n: int, reservation: ObjectId | None = None) -> Lease:
    return Lease(
        id=ObjectId(),
        subnet=subnet.id,
        pool=subnet.pool,
        reservation=reservation or ObjectId(),
        address=subnet.start + n,
        entry=1,
    )


def some(*positions: int) -> AddressSet:
    return AddressSet({7: FrozenBitMap(positions)})


def a_job(stores: Stores, target: ObjectId) -> Job:
    job = Job(
        id=ObjectId(), kind=JobKind.RESERVATION, target=target, pool=ObjectId(), subnet=target,
        request={"count": 1}, reservation=ObjectId(),
    )  # fmt: skip
    stores.jobs.insert(job)
    return job


def test_indexes_are_created_and_creating_them_again_changes_nothing(stores):
    expected = [f"{collection}.{index.document['name']}" for collection, all_ in INDEXES.items() for index in all_]
    assert stores.indexes.create() == expected


def test_every_document_comes_back_as_it_was_stored(stores):
    pool = a_pool(stores)
    subnet = replace(
        a_subnet(stores, pool.id), id=ObjectId(), outbox=(), cidr="10.0.0.0/24", gateway=ip_address("10.0.0.9"),
        exclusions=("10.0.0.7",), metadata={"$a.b\0": [2**80, None]}, tags=("x",),
    )  # fmt: skip
    stores.subnets.insert(subnet)
    holdings = (SubnetAddresses(subnet.id, AddressSet.of([subnet.start, subnet.start + 5])),)
    reservation = Reservation(
        id=ObjectId(), pool=pool.id, subnets=(subnet.id,), count=2, name="r", holdings=holdings
    )
    stores.writer.write([stores.reservations.insertion([reservation])])
    lease = replace(a_lease(subnet, 5, reservation.id), id=lease_id(stem_of(reservation.id), 1))
    stores.writer.write([*stores.leases.insertion([lease.to_bson()])])
    assert replace(stores.pools.get(pool.id), outbox=()) == pool
    assert replace(stores.subnets.get(subnet.id), outbox=()) == subnet
    assert stores.reservations.get(reservation.id) == reservation
    assert stores.leases.get(lease.id) == lease


def test_an_address_is_in_one_lease_whoever_inserts_it(stores):
    subnet = a_subnet(stores)
    first, second = a_lease(subnet, 1), a_lease(subnet, 1)
    stores.writer.write([*stores.leases.insertion([first.to_bson()])])
    stores.writer.write([*stores.leases.insertion([second.to_bson(), a_lease(subnet, 2).to_bson()])])
    assert leases_of(stores, first.reservation) == [first]
    assert leases_of(stores, second.reservation) == []


def test_a_lease_that_was_given_back_is_taken_once_by_a_younger_entry(stores):
    subnet = a_subnet(stores)
    held = a_lease(subnet, 3)
    alone = AddressSet.of([held.address])
    stores.writer.write([*stores.leases.insertion([held.to_bson()])])
    stores.leases.put_back(subnet.id, {ObjectId(): alone})
    assert leases_of(stores, held.reservation) == [held]
    stores.leases.put_back(subnet.id, {held.reservation: alone})
    assert leases_of(stores, held.reservation) == []
    stores.writer.write([*stores.leases.taking([held.to_bson()])])
    assert leases_of(stores, held.reservation) == []
    next_holder, too_late = replace(a_lease(subnet, 3), entry=2), replace(a_lease(subnet, 3), entry=3)
    stores.writer.write([*stores.leases.taking([next_holder.to_bson()])])
    stores.writer.write([*stores.leases.taking([too_late.to_bson()])])
    stores.leases.put_back(subnet.id, {held.reservation: alone})
    assert leases_of(stores, next_holder.reservation) == [next_holder]


def change(stores: Stores, block: Block, taken: FrozenBitMap, known: FrozenBitMap) -> bool:
    return stores.writer.write([stores.blocks.succession([block.succeeded_by(taken, known)])])


def test_a_block_comes_back_as_it_was_stored_and_one_that_was_not_is_empty(stores):
    subnet = ObjectId()
    far = 2**112 - 1
    assert stores.blocks.read(subnet, [7, far]) == {
        number: Block(subnet=subnet, number=number) for number in (7, far)
    }
    taken, known = FrozenBitMap([1, 65_535]), FrozenBitMap(range(65_536))
    new = Block(subnet=subnet, number=far)
    assert change(stores, new, taken, known)
    stored = stores.blocks.read(subnet, [far])[far]
    assert stored == Block(subnet=subnet, number=far, version=1, taken=taken, known=known)
    assert list(stores.blocks.of_subnet(subnet)) == [stored]
    assert change(stores, stored, known, known)
    assert not change(stores, stored, taken, known)
    assert not change(stores, new, taken, known)
    assert stores.blocks.read(subnet, [7, far])[far].taken == known
    stores.blocks.forget(subnet)
    assert list(stores.blocks.of_subnet(subnet)) == []


def test_block_changed_by_many_processes_has_each_change(stores, database, database_name):
    subnet = ObjectId()
    code = f"""
import os
from pyroaring import FrozenBitMap
for n in range(25):
    while True:
        block = stores.blocks.read(ObjectId("{subnet}"), [0])[0]
        free = (FrozenBitMap(range(1000)) - block.taken).min()
        new = block.succeeded_by(block.taken | FrozenBitMap([free]), block.known)
        if stores.writer.write([stores.blocks.succession([new])]):
            print(free)
            break
"""
    assert sorted(map(int, in_processes(database, database_name, code))) == list(range(25 * PROCESSES))
    assert stores.blocks.read(subnet, [0])[0].version == 25 * PROCESSES


def test_ledger_changed_by_many_processes_has_each_change(stores, database, database_name):
    subnet = a_subnet(stores)
    code = f"""
from dataclasses import replace
from ipam.util.retry import retry_on_conflict
def step():
    ledger = stores.ledgers.find(ObjectId("{subnet.id}"))
    stores.ledgers.write(replace(ledger, used=ledger.used + 1))
    return ledger.used
for _ in range(25):
    print(retry_on_conflict(step))
"""
    seen = sorted(map(int, in_processes(database, database_name, code)))
    assert seen == list(range(25 * PROCESSES))
    assert stores.ledgers.find(subnet.id).version == 1 + 25 * PROCESSES  # And it was opened.


def test_job_claimed_by_many_processes_goes_to_one(stores, database, database_name):
    target = ObjectId()
    jobs = [a_job(stores, target) for _ in range(60)]
    code = f"""
for _ in range(20):
    for job in stores.jobs.claim(stores.jobs.waiting(ObjectId("{target}"), 7, 60.0)[0], 60.0)[1]:
        print(job.id)
"""
    claimed = in_processes(database, database_name, code)
    assert sorted(claimed) == sorted(str(job.id) for job in jobs)


def test_overlapping_range_held_by_many_processes_goes_to_one(stores, database, database_name):
    pool = a_pool(stores)
    code = f"""
from ipaddress import ip_address
from itertools import pairwise
from ipam.errors import SubnetOverlap
from ipam.models.subnet import Subnet
start = ip_address("10.0.0.0")
for n in range(20):
    first = start + 16 * n
    subnet = Subnet(id=ObjectId(), pool=ObjectId("{pool.id}"), start=first, end=first + 20, size=21)
    try:
        stores.pools.hold_range(subnet)
        print(n)
    except SubnetOverlap:
        pass
"""
    won = sorted(map(int, in_processes(database, database_name, code)))
    assert len(won) == len(set(won))
    assert all(later - earlier > 1 for earlier, later in pairwise(won))
    assert won


def test_a_stale_ledger_is_not_written(stores):
    subnet = a_subnet(stores)
    ledger = stores.ledgers.find(subnet.id)
    stores.ledgers.write(replace(ledger, cursor=5))
    with pytest.raises(WriteConflict):
        stores.ledgers.write(replace(ledger, cursor=9))
    assert stores.ledgers.find(subnet.id).cursor == 5


def test_subnet_that_is_being_deleted_gives_no_address(stores):
    subnet = a_subnet(stores)
    ledger = stores.ledgers.find(subnet.id)
    hide_subnet(stores, subnet.id, None, only_empty=True)
    with pytest.raises(WriteConflict):
        stores.ledgers.write(replace(ledger, used=1))
    assert not stores.ledgers.find(subnet.id).is_open
    with pytest.raises(NotFound):
        stores.subnets.get(subnet.id)


def test_the_metadata_of_what_users_do_not_see_is_not_shown(stores):
    pool = a_pool(stores)
    stores.pools.describe(pool.id, lambda old: replace(old, metadata={"is": "pool"}))
    subnet, other = a_subnet(stores, pool.id), a_subnet(stores, pool.id, "10.0.1.1")
    stores.subnets.describe(subnet.id, lambda old: replace(old, metadata=[1]))
    wanted = [subnet.id, other.id, ObjectId()]
    assert stores.pools.metadata_of([pool.id]) == {pool.id: {"is": "pool"}}
    assert stores.subnets.metadata_of(wanted) == {subnet.id: [1], other.id: other.metadata}

    hide_subnet(stores, subnet.id, None, only_empty=False)
    stores.pools.begin_delete(pool.id, None, only_empty=False)
    assert stores.subnets.metadata_of(wanted) == {other.id: other.metadata}
    assert stores.pools.metadata_of([pool.id]) == {}


def test_a_pool_with_ranges_is_not_empty_and_a_range_can_be_dropped(stores):
    pool = a_pool(stores)
    subnet = a_subnet(stores, pool.id)
    stores.pools.hold_range(subnet)
    stores.pools.hold_range(subnet)
    with pytest.raises(SubnetOverlap) as caught:
        stores.pools.hold_range(replace(subnet, id=ObjectId()))
    assert caught.value.facts == {"subnet": str(subnet.id)}
    with pytest.raises(NotEmpty):
        stores.pools.begin_delete(pool.id, None, only_empty=True)
    stores.pools.drop_range(pool.id, subnet.id)
    stores.pools.begin_delete(pool.id, None, only_empty=True)
    with pytest.raises(NotFound):
        stores.pools.hold_range(subnet)


def test_a_tombstone_keeps_its_place(stores):
    subnet = a_subnet(stores)
    reservation = Reservation(id=ObjectId(), pool=subnet.pool, subnets=(subnet.id,), count=1)
    stores.writer.write([stores.reservations.insertion([reservation])])
    begin_release(stores, reservation.id)
    stores.writer.write([stores.reservations.burial([reservation.id])])
    stores.writer.write([stores.reservations.insertion([reservation])])
    with pytest.raises(NotFound):
        stores.reservations.get(reservation.id)
    assert stores.reservations.of_subnet(subnet.id, 10) == []


def test_leases_of_a_deleted_subnet_cannot_be_inserted_again(stores):
    subnet = a_subnet(stores)
    held = a_lease(subnet, 3)
    stores.writer.write([*stores.leases.insertion([held.to_bson()])])
    alone = AddressSet.of([held.address])
    stores.leases.retire(subnet.id, alone)
    stores.writer.write([*stores.leases.insertion([held.to_bson()])])
    assert leases_of(stores, held.reservation) == []
    stores.leases.forget(subnet.id, alone)
    stores.writer.write([*stores.leases.insertion([held.to_bson()])])
    assert leases_of(stores, held.reservation) == [held]


def test_a_reservation_whose_last_subnet_is_deleted_is_released(stores):
    first, second = ObjectId(), ObjectId()
    holdings = (SubnetAddresses(second, some(1, 2, 3)), SubnetAddresses(first, some(1)))
    reservation = Reservation(id=ObjectId(), pool=ObjectId(), subnets=(second, first), count=4, holdings=holdings)
    stores.writer.write([stores.reservations.insertion([reservation])])
    stores.reservations.leave(reservation.id, first)
    after = stores.reservations.get(reservation.id)
    assert (after.subnets, after.count, after.revision) == ((second,), 3, 2)
    for _ in range(2):
        stores.reservations.give_back(reservation.id, second, some(2))
        stores.reservations.leave(reservation.id, first)
    after = stores.reservations.get(reservation.id)
    assert (after.subnets, after.count, after.revision) == ((second,), 2, 3)
    assert list(after.left) == [(second, some(1, 3))]
    stores.reservations.leave(reservation.id, second)
    with pytest.raises(NotFound):
        stores.reservations.get(reservation.id)


def test_a_claim_that_ran_out_counts_as_a_failure_and_one_given_back_does_not(stores):
    target = ObjectId()
    job = a_job(stores, target)
    stores.jobs.claim(stores.jobs.waiting(target, 10, 60.0)[0], -1.0)
    token, claimed = stores.jobs.claim(stores.jobs.waiting(target, 10, 60.0)[0], 60.0)
    assert [(one.attempts, one.failures) for one in claimed] == [(2, 1)]
    stores.jobs.disown([job.id], token)
    _, claimed = stores.jobs.claim(stores.jobs.waiting(target, 10, 60.0)[0], 60.0)
    assert [(one.attempts, one.failures) for one in claimed] == [(3, 1)]


def test_review_of_a_job_is_saved_once(stores):
    target = ObjectId()
    a_job(stores, target)
    for name in ("first", "second"):
        token, (job,) = stores.jobs.claim(stores.jobs.waiting(target, 1, 60.0)[0], -1.0)
        amended = replace(job, request={"name": name}, audit_context=AuditContext(amended_by=name))
        stores.jobs.save_reviews([amended], token)
    kept = stores.jobs.get(job.id)
    assert (kept.reviewed, kept.request, kept.audit_context.amended_by) == (True, {"name": "first"}, "first")


def test_ledger_entry_removed_twice_is_counted_once(stores):
    subnet = a_subnet(stores)
    some = AddressSet.of([subnet.start, subnet.end])
    release = Release(id=ObjectId(), reservation=ObjectId(), addresses=some, is_partial=False, at=utc_now())
    dropped, finished = (
        Grant(batch=ObjectId(), job=ObjectId(), reservation=ObjectId(), addresses=some, version=1, at=utc_now())
        for _ in range(2)
    )
    busy = replace(
        stores.ledgers.find(subnet.id),
        used=9,
        releases=(release,),
        grants=(dropped, finished),
        full=((3, 4),),
        cursor=5,
    )
    ledger = stores.ledgers.write(busy)
    assert stores.ledgers.find(subnet.id) == ledger
    for _ in range(2):
        stores.writer.write([stores.ledgers.striking_out(subnet.id, [finished], [release])])
        stores.ledgers.withdraw_grant(subnet.id, dropped)
    after = stores.ledgers.find(subnet.id)
    assert (after.used, after.releases, after.grants) == (5, (), ())
    assert after.version == ledger.version + 3


def test_releases_are_struck_out_all_or_none(stores):
    subnet = a_subnet(stores)
    releases = tuple(
        Release(
            id=ObjectId(), reservation=ObjectId(), addresses=AddressSet.of([at]), is_partial=False, at=utc_now()
        )
        for at in (subnet.start, subnet.start + 1, subnet.end)
    )
    stores.ledgers.write(replace(stores.ledgers.find(subnet.id), used=9, releases=releases))

    def strike_out(*some: Release) -> tuple[int, int]:
        stores.writer.write([stores.ledgers.striking_out(subnet.id, (), some)])
        after = stores.ledgers.find(subnet.id)
        return after.used, len(after.releases)

    assert strike_out(*releases[:2]) == (7, 1)
    for some in (releases[1:], releases[:0:-1]):  # Whichever of them is named first.
        assert strike_out(*some) == (7, 1)
    assert strike_out(releases[2]) == (6, 0)


@pytest.mark.parametrize("is_going", [False, True])
def test_addresses_released_at_the_same_moment_all_go_back(stores, is_going):
    subnet = ObjectId()
    holding = SubnetAddresses(subnet, AddressSet({7: FrozenBitMap(range(30))}))
    reservation = Reservation(id=ObjectId(), pool=ObjectId(), subnets=(subnet,), count=30, holdings=(holding,))
    stores.writer.write([stores.reservations.insertion([reservation])])
    if is_going:
        begin_release(stores, reservation.id, at_once=30)
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda n: stores.reservations.give_back(reservation.id, subnet, some(n)), range(24)))
    if is_going:
        after = stores.reservations.releasing([reservation.id])[reservation.id]
    else:
        after = stores.reservations.get(reservation.id)
    assert (after.at_once, after.revision) == ((True, 2) if is_going else (False, 25))
    assert (after.count, list(after.left)) == (6, [(subnet, AddressSet({7: FrozenBitMap(range(24, 30))}))])


def test_concurrent_changes_of_one_document_are_all_kept(stores):
    pool = a_pool(stores)

    def tag(n: int) -> None:
        stores.pools.describe(pool.id, lambda old: replace(old, tags=(*old.tags, str(n))))

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(tag, range(24)))
    after = stores.pools.get(pool.id)
    assert sorted(after.tags, key=int) == [str(n) for n in range(24)]
    assert after.revision == 25
    with pytest.raises(Stale):
        stores.pools.describe(pool.id, lambda old: replace(old, name="x"), frozenset([24]))


def test_concurrent_patches_of_a_lease_are_kept_and_found_while_its_mark_is_tidied(stores):
    subnet = a_subnet(stores)
    holding = SubnetAddresses(subnet.id, AddressSet.of([subnet.start]))
    reservation = Reservation(id=ObjectId(), pool=subnet.pool, subnets=(subnet.id,), count=1, holdings=(holding,))
    lease = replace(a_lease(subnet, 0, reservation.id), id=lease_id(stem_of(reservation.id), 0))
    stores.writer.write([*stores.leases.insertion([lease.to_bson()]), stores.reservations.insertion([reservation])])

    def tag_or_tidy(n: int) -> None:
        if n % 4:
            stores.leases.describe(lease.id, lambda old: replace(old, tags=(*old.tags, str(n))))
        else:
            stores.leases.recover(begun_within(-1))

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(tag_or_tidy, range(16)))
    for _ in range(2):
        after = stores.leases.get(lease.id)
        assert sorted(after.tags, key=int) == [str(n) for n in range(16) if n % 4]
        for n in after.tags:
            found = stores.leases.page_among(wanted := Query(facets=((f"tag={n}",),)), stores.leases.marked(wanted))
            assert [(one.id, one.tags) for one in found.items] == [(after.id, after.tags)]
        assert list(stores.leases.marked(Query(facets=(("tag=0",),)))) == []
        stores.leases.recover(begun_within(-1))
    assert stores.leases.get(lease.id).outbox == ()


def test_abandoned_release_taken_over_by_many_processes_goes_to_one(stores, database, database_name):
    reservations = [Reservation(id=ObjectId(), pool=ObjectId(), subnets=(), count=0) for _ in range(20)]
    for reservation in reservations:
        stores.reservations.insert_unwanted(reservation)
    pools = [a_pool(stores) for _ in range(20)]
    for pool in pools:
        stores.pools.begin_delete(pool.id, None, only_empty=True)
    code = f"""
from datetime import datetime, timedelta
from ipam.storage.time_span import Span
now = datetime.fromisoformat("{utc_now()}")
recent = Span(now + timedelta(milliseconds=1), now + timedelta(minutes=1))
for reservation in stores.reservations.take_over_release(recent):
    print(reservation.id)
for pool in stores.pools.take_over_sweep(recent):
    print(pool)
"""
    taken = in_processes(database, database_name, code)
    # There may be others of other tests.
    ours = {str(one.id) for one in (*reservations, *pools)}
    assert sorted(one for one in taken if one in ours) == sorted(ours)


def test_job_is_cancelled_only_under_its_claim(stores):
    target = ObjectId()
    first, second = a_job(stores, target), a_job(stores, target)
    token, _ = stores.jobs.claim([first], 60.0)
    assert stores.jobs.cancel(first, token)
    assert stores.jobs.get(first.id).state is JobState.CANCELLED
    assert not stores.jobs.cancel(first, token)
    assert not stores.jobs.cancel(second, token)
    assert [job.id for job in stores.jobs.waiting(target, 10, 60.0)[0]] == [second.id]
    assert [job.id for job in stores.jobs.ended([first.id, second.id])] == [first.id]


def test_jobs_that_have_not_ended_are_listed_by_their_key_and_others_are_not_read(stores, database, database_name):
    target = ObjectId()
    queued, cancelled, running = (a_job(stores, target) for _ in range(3))
    token, _ = stores.jobs.claim([cancelled], 60.0)
    stores.jobs.cancel(cancelled, token)
    stores.jobs.claim([running], 60.0)

    def listed(state: JobState) -> list[ObjectId]:
        return [job.id for job in stores.jobs.page(Query().where(subnet=target, state=state.value)).items]

    assert listed(JobState.QUEUED) == [queued.id]
    assert listed(JobState.RUNNING) == [running.id]
    assert listed(JobState.CANCELLED) == [cancelled.id]
    with connect(database, database_name, 20).client as client:
        client[database_name]["jobs"].update_many({"subnet": target}, {"$set": {"keys": [target]}})
    assert listed(JobState.QUEUED) == listed(JobState.RUNNING) == []


def test_jobs_left_alone_are_found_again(stores):
    queued, running, fresh = ObjectId(), ObjectId(), ObjectId()
    a_job(stores, queued)
    a_job(stores, running)
    stores.jobs.claim(stores.jobs.waiting(running, 10, 60.0)[0], -1.0)
    a_job(stores, fresh)
    stores.jobs.claim(stores.jobs.waiting(fresh, 10, 60.0)[0], 60.0)
    found = stores.jobs.stranded(-1.0, 60.0)
    assert {queued, running} <= set(found)
    assert fresh not in found


def test_pages_follow_each_other_without_gap(stores):
    tag = str(ObjectId())
    pools = [Pool(id=ObjectId(), tags=(tag,)) for _ in range(7)]
    for pool in pools:
        stores.pools.insert(pool)
    query, seen = Query(facets=((f"tag={tag}",),), limit=3), []
    while True:
        page = stores.pools.page(query)
        seen += [pool.id for pool in page.items]
        if (cursor := page.cursor(len(page.items))) is None:
            break
        query = replace(query, cursor=cursor)
    assert seen == [pool.id for pool in pools]


def test_a_page_of_large_documents_ends_before_it_is_full(stores, monkeypatch):
    """And one that is larger than all that a page may hold is a page of its own."""
    monkeypatch.setattr("ipam.storage.sizes.PAGE_MAX_BYTES", 1200)
    tag = str(ObjectId())
    for size in (400, 500, 400, 2000, 1, 1):
        stores.pools.insert(Pool(id=ObjectId(), tags=(tag,), metadata="x" * size))
    query, sizes = Query(facets=((f"tag={tag}",),)), []
    while True:
        page = stores.pools.page(query)
        sizes.append([len(pool.metadata) for pool in page.items])
        if (cursor := page.cursor(len(page.items))) is None:
            break
        query = replace(query, cursor=cursor)
    assert sizes == [[400, 500], [400], [2000], [1, 1]]


def test_the_first_answer_under_a_key_stays(stores):
    key = str(ObjectId())
    first = stores.idempotency.begin(key, "f", ObjectId())
    assert stores.idempotency.begin(key, "g", ObjectId()) == first
    kept = Answer(201, {"location": "/x"}, b"1")
    assert stores.idempotency.finish(key, kept) == kept
    assert stores.idempotency.finish(key, Answer(409, {}, b"2")) == kept
    assert stores.idempotency.begin(key, "f", ObjectId()).answer == kept


def test_a_database_that_is_not_there_is_told_from_a_fault():
    away = Stores(connect("127.0.0.1:1", "x", 0.3))
    with pytest.raises(Transient):
        away.pools.get(ObjectId())
    with pytest.raises(Transient):
        away.jobs.claim(away.jobs.waiting(ObjectId(), 1, 60.0)[0], 1.0)
    with pytest.raises(Transient):
        next(away.blocks.of_subnet(ObjectId()))  # What is read bit by bit too.
    away.whole.close()
