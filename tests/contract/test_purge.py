"""What is kept for some time only, over the wire."""

from collections.abc import Iterator
from datetime import timedelta
from ipaddress import ip_address
from typing import Any
from uuid import uuid4

import pytest
from bson import ObjectId

from ipam.models.address_set import AddressSet
from ipam.models.job import Job, JobKind
from ipam.models.pool import Pool
from ipam.models.reservation import Reservation
from ipam.models.reserved_addresses import SubnetAddresses
from ipam.models.token import Role, issue
from ipam.storage.connection import connect
from ipam.storage.purge import EXPIRING, PurgeStore
from ipam.storage.stores import Stores
from ipam.storage.time_span import begun_within
from ipam.util.clock import utc_now
from tests.support.stored import begin_release

MINUTE = timedelta(minutes=1)
FOR_EVER_S = 1e9


@pytest.fixture
def stores(database: str) -> Iterator[Stores]:
    """On a database of each test's own: how far it is, is one for all."""
    made = connect(database, f"expiry-{uuid4().hex[:8]}", 60)
    stores = Stores(made)
    stores.indexes.create()
    stores.purge.remove(utc_now(), FOR_EVER_S)
    yield stores
    made.client.drop_database(made.name)
    made.client.close()


def count(stores: Stores) -> dict[str, int]:
    collections = stores.pools._collection.database  # noqa: SLF001
    return {name: collections[name].count_documents({}) for name in EXPIRING}


def a_pool(stores: Stores) -> Pool:
    return stores.pools.insert(Pool(id=ObjectId()))


def a_reservation(stores: Stores) -> Reservation:
    subnet = ObjectId()
    holding = SubnetAddresses(subnet, AddressSet.of([ip_address("10.0.0.1")]))
    reservation = Reservation(id=ObjectId(), pool=ObjectId(), subnets=(subnet,), count=1, holdings=(holding,))
    stores.writer.write([stores.reservations.insertion([reservation])])
    return reservation


def a_job(target: ObjectId | None = None) -> Job:
    target = target or ObjectId()
    return Job(
        id=ObjectId(), kind=JobKind.RESERVATION, target=target, pool=ObjectId(), subnet=target,
        request={"count": 1}, reservation=ObjectId(),
    )  # fmt: skip


def test_purge_removes_expired_documents_and_nothing_else(stores):
    for _ in range(2):  # One of each ends.
        pool, reservation, job, failed = a_pool(stores), a_reservation(stores), a_job(), a_job()
        stores.jobs.insert(job, failed)
        bearer, _ = issue(name="of a test", role=Role.VIEWER)
        stores.tokens.insert(bearer)
    stores.pools.begin_delete(pool.id, None, only_empty=True)
    stores.pools.finish_delete(pool.id)
    stores.pools.refuse(Pool(id=ObjectId()))
    begin_release(stores, reservation.id)
    stores.writer.write([stores.reservations.burial([reservation.id])])
    token, claimed = stores.jobs.claim([failed], 60.0)
    stores.jobs.finish(job.id)
    stores.jobs.fail([(claimed[0], {"slug": "given-up", "detail": "", "facts": {}})], token)
    stores.idempotency.begin("key", "fingerprint", ObjectId())
    stores.tokens.delete(bearer.id)
    all_ = {"pools": 3, "reservations": 2, "jobs": 4, "idempotency": 1, "tokens": 2}
    now = utc_now()
    kept = {timedelta(hours=24) - MINUTE: all_, timedelta(hours=24) + 2 * MINUTE: {**all_, "idempotency": 0}}
    kept[timedelta(days=7) - MINUTE] = {**all_, "idempotency": 0}
    kept[timedelta(days=7) + 2 * MINUTE] = {"pools": 1, "reservations": 1, "jobs": 2, "idempotency": 0, "tokens": 1}
    for age, left in kept.items():
        stores.purge.remove(now + age, FOR_EVER_S)
        assert count(stores) == left, age


def test_purge_leaves_what_it_has_no_time_for_to_the_next_run(stores):
    stores.idempotency.begin("key", "fingerprint", ObjectId())
    later = utc_now() + timedelta(days=2)
    for _ in range(3):
        stores.purge.remove(later, 0.0)
    assert count(stores)["idempotency"] == 1
    stores.purge.remove(later, FOR_EVER_S)
    assert count(stores)["idempotency"] == 0


def test_purge_that_dies_over_a_minute_leaves_it_to_the_next(stores, monkeypatch):
    database = stores.pools._collection.database  # noqa: SLF001
    stores.idempotency.begin("key", "fingerprint", ObjectId())
    (minute,) = database["idempotency"].find_one({"_id": "key"})["keys"]
    dying = PurgeStore(database)

    class Dying:
        def delete_many(self, wanted: dict[str, Any]) -> None:
            if minute in wanted["keys"]["$in"]:
                raise KeyboardInterrupt

    with monkeypatch.context() as crash:
        crash.setattr(dying, "_database", dict.fromkeys(EXPIRING, Dying()))
        with pytest.raises(KeyboardInterrupt):
            dying.remove(utc_now() + timedelta(days=2), FOR_EVER_S)
    stores.purge.remove(utc_now() + timedelta(days=2), FOR_EVER_S)
    assert count(stores)["idempotency"] == 0


def test_a_reservation_is_found_by_its_keys_as_long_as_it_is_there(stores):
    reservation = a_reservation(stores)
    (subnet,) = reservation.subnets
    assert stores.reservations.of_subnet(subnet, 2) == [reservation]
    hidden = begin_release(stores, reservation.id)
    assert stores.reservations.of_subnet(subnet, 2) == []
    assert [one.id for one in stores.reservations.take_over_release(begun_within(-1))] == [hidden.id]
    stores.writer.write([stores.reservations.burial([reservation.id])])
    assert list(stores.reservations.take_over_release(begun_within(-1))) == []


def test_a_release_that_ends_while_it_is_taken_over_is_left_alone(stores, monkeypatch):
    """Whoever had begun it was only slow, and ends it before what is to be released is read."""
    reservation, read = a_reservation(stores), stores.reservations.releasing
    begin_release(stores, reservation.id)

    def end_it_first(ids: list[ObjectId]) -> dict:
        stores.writer.write([stores.reservations.burial(ids)])
        return read(ids)

    monkeypatch.setattr(stores.reservations, "releasing", end_it_first)
    assert reservation.id not in [one.id for one in stores.reservations.take_over_release(begun_within(-1))]
    assert reservation.id not in read([reservation.id])


def test_the_waiting_jobs_of_a_target_are_found_behind_those_in_hand(stores):
    target = ObjectId()
    jobs = [a_job(target) for _ in range(6)]
    stores.jobs.insert(*jobs)
    stores.jobs.claim(jobs[:3], 60.0)
    for limit, last, more in ((2, 5, True), (9, len(jobs), False)):
        waiting = stores.jobs.waiting(target, limit, 60.0)
        assert ([job.id for job in waiting[0]], waiting[1]) == ([job.id for job in jobs[3:last]], more)
