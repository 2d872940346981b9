"""A database of the version that kept released addresses in a queue: nothing of it is lost, doubled or leaked."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address, ip_network
from typing import Any
from uuid import uuid4

import pytest
from bson import ObjectId
from pymongo import IndexModel
from pymongo.database import Database

from ipam.allocation.consulting import Consulting
from ipam.allocation.requests import ReservationRequest
from ipam.errors import SubnetOverlap
from ipam.models.address_sets import AddressSet
from ipam.models.addresses import Address, to_bytes
from ipam.models.clock import utc_now
from ipam.models.connection import connect
from ipam.models.documents import (
    Job,
    JobKind,
    JobState,
    Lease,
    Pool,
    Reservation,
    ReservationState,
    Subnet,
    SubnetState,
)
from ipam.models.events import Event
from ipam.models.holdings import stem_of
from ipam.models.keys import OPEN, UNFINISHED, minute_of
from ipam.models.metadata import metadata_facets
from ipam.models.prefixes import around_in_pool
from ipam.models.store import Query
from ipam.models.stores import Stores
from ipam.origins import Origin
from ipam.settings import Settings
from ipam.wiring import Services, build_services
from tests.calls import Nobody
from tests.stored import leases_of

FIRST = ip_address("10.0.255.241")
SIZE = 14
CIDR = "10.0.255.240/28"
AT = datetime(2026, 1, 1, tzinfo=UTC)
POOL, SUBNET = ObjectId(), ObjectId()
HOLDER, GRANTED, WITHDRAWN, RELEASING, RELEASED = (ObjectId() for _ in range(5))
DECIDED_BATCH, LOST_BATCH = ObjectId(), ObjectId()
DECIDED_JOB, LOST_JOB, DONE_JOB = ObjectId(), ObjectId(), ObjectId()


@pytest.fixture
def old(database: str) -> Iterator[Database[Any]]:
    """Half-done work of every kind: a decided grant, one that is not, a release, a grant on its way back."""
    made = connect(database, f"old-{uuid4().hex[:8]}", 60)
    made["subnets"].create_indexes([IndexModel("start", name="by_start"), IndexModel("pool", name="of_pool")])
    made["leases"].create_indexes([IndexModel("facets", name="by_name_tag_or_metadata", sparse=True)])
    made["leases"].create_indexes([IndexModel("slot", name="queue", unique=True, sparse=True)])
    made["leases"].create_indexes([IndexModel("reservation", name="of_reservation", sparse=True)])
    made["leases"].create_indexes([IndexModel("lease", name="by_id", sparse=True)])
    made["leases"].create_indexes([IndexModel("outbox_since", name="untold", sparse=True)])
    pool = Pool(id=POOL).to_bson()
    subnet = Subnet(
        id=SUBNET, tags=("old",), pool=POOL, start=FIRST, end=FIRST + SIZE - 1, size=SIZE, state=SubnetState.ACTIVE
    ).to_bson()
    subnet.update({"start": to_bytes(FIRST), "end": to_bytes(FIRST + SIZE - 1), "cidr": CIDR})
    del subnet["low"], subnet["high"]
    pool["ranges"] = [{"subnet": SUBNET, "start": subnet["start"], "end": subnet["end"]}]
    subnet["ledger"] = {
        "version": 40, "cursor": 11, "head": 3, "tail": 15, "used": 9,
        "grants": [
            # Two new addresses, of which one is handed out, and the one that was released first.
            a_grant(DECIDED_BATCH, DECIDED_JOB, GRANTED, [[1, 2]], [0, 1]),
            a_grant(LOST_BATCH, LOST_JOB, ObjectId(), [[3, 1]], [1, 1]),
            # One that was carried out and not struck out yet; its address was given back since.
            a_grant(DECIDED_BATCH, DONE_JOB, RELEASED, [[10, 1]], [1, 1]),
        ],
        "releases": [
            # Two addresses, of which one is back.
            {"id": ObjectId(), "first": 11, "count": 2, "span": 2, "at": AT, "reservation": RELEASING,
             "lease": None, "grant": None},
            # One new address and a released one, which has got its new place already.
            {"id": ObjectId(), "first": 13, "count": 2, "span": 2, "at": AT, "reservation": WITHDRAWN,
             "lease": None, "grant": a_grant(ObjectId(), ObjectId(), WITHDRAWN, [[6, 1]], [2, 3])},
        ],
    }  # fmt: skip
    made["pools"].insert_one(pool)
    made["subnets"].insert_one(subnet)
    made["leases"].insert_many(
        [
            {**held(0, HOLDER), "metadata": '{"a":{"b":7.0}}', "facets": ["metadata.a.b=7.0"]},
            held(1, GRANTED),
            queued(5, 0),
            queued(4, 11),
            held(7, RELEASING),
            queued(8, 4),
            queued(9, 14),
            queued(10, 5),
        ]
    )
    releasing = Reservation(id=RELEASING, pool=POOL, subnets=(SUBNET,), count=2, state=ReservationState.RELEASING)
    made["reservations"].insert_many(
        [
            Reservation(id=HOLDER, pool=POOL, subnets=(SUBNET,), count=1).to_bson(),
            {**releasing.to_bson(), "unfinished": AT},
            {"_id": RELEASED, "state": ReservationState.RELEASED.value, "released_at": AT},
        ]
    )
    made["reservations"].update_many({}, {"$unset": {"holdings": 1, "keys": 1}, "$set": {"stem": b"old"}})
    made["reservations"].create_indexes([IndexModel("pool", name="of_pool")])
    made["jobs"].insert_many([a_job(DECIDED_JOB, GRANTED, DECIDED_BATCH, 3), a_job(LOST_JOB, ObjectId(), None, 1)])
    done = {**a_job(DONE_JOB, RELEASED, DECIDED_BATCH, 1), "state": JobState.SUCCEEDED.value}
    made["jobs"].insert_one({**done, "finished_at": AT})
    made["jobs"].update_many({}, {"$unset": {"keys": 1}, "$set": {"waiting": SUBNET}})
    told = Event(
        id="x", type="ipam.reservation.created", paths=("/reservations/x", f"/pools/{POOL}"), revision=1, time=AT,
        origin=Origin(), data=f'{{"addresses": ["{FIRST}"]}}',
    )  # fmt: skip
    Stores(made).log.append(0, [told])
    made["log"].update_one({"_id": 1}, {"$unset": {"prefixes": 1}})
    yield made
    made.client.drop_database(made.name)
    made.client.close()


def a_grant(batch: ObjectId, job: ObjectId, reservation: ObjectId, fresh: Any, recycled: Any) -> Any:
    return {
        "batch": batch, "job": job, "reservation": reservation, "fresh": fresh, "recycled": recycled,
        "count": sum(count for _, count in fresh) + recycled[1] - recycled[0], "at": AT,
    }  # fmt: skip


def held(n: int, reservation: ObjectId) -> dict[str, Any]:
    lease = Lease(
        id=ObjectId(), subnet=SUBNET, pool=POOL, reservation=reservation, address=FIRST + n, entry=0
    ).to_bson()
    del lease["entry"]
    return {**lease, "name": "", "tags": [], "metadata": "null", "ordinal": 0}


def queued(n: int, place: int) -> dict[str, Any]:
    key = held(n, HOLDER)["_id"]
    return {"_id": key, "subnet": SUBNET, "slot": SUBNET.binary + place.to_bytes(8, "big"), "released_at": AT}


def a_job(id_: ObjectId, reservation: ObjectId, decision: ObjectId | None, count: int) -> dict[str, Any]:
    job = Job(
        id=id_, kind=JobKind.RESERVATION, target=SUBNET, pool=POOL, subnet=SUBNET, reservation=reservation,
        request=ReservationRequest(count=count).to_json(), state=JobState.RUNNING, claim=LOST_BATCH,
    )  # fmt: skip
    return {**replace(job, decision=decision).to_bson(), "claimed_until": AT}


def addresses(services: Services, reservation: ObjectId) -> list[Address]:
    return [lease.address for lease in leases_of(services.stores, reservation)]


def test_a_database_of_the_version_before_is_brought_over(old: Database[Any]):
    stores = Stores(old)
    before = len(list(old["leases"].find()))
    tomorrow = minute_of(utc_now() + timedelta(days=1))
    said = stores.upgrade.run()
    assert said == [
        f"brought over: 1 ledgers and {before} leases, from a queue to bitmaps",
        "brought over: 1 subnets, with the whole of their ranges",
        "brought over: 1 leases, to be found by exact metadata",
        "brought over: 2 reservations, with the addresses that they hold",
        "brought over: 3 leases, to be found by their ids",
        "brought over: 1 leases, with marks of what is written on them",
        "brought over: 1 subnets, with an index of their own",
        "brought over: 6 documents, with the keys by which they are found",
        "brought over: 1 events, to be found by address",
    ]
    assert stores.upgrade.run() == []
    reservations = {bson["_id"]: bson for bson in old["reservations"].find()}
    assert reservations[HOLDER]["keys"] == [POOL, SUBNET, stem_of(HOLDER)]
    assert reservations[RELEASING]["keys"] == [POOL, SUBNET, stem_of(RELEASING), UNFINISHED]
    jobs = {bson["_id"]: bson for bson in old["jobs"].find()}
    assert jobs[DECIDED_JOB]["keys"] == jobs[LOST_JOB]["keys"] == [SUBNET, OPEN]
    for over in reservations[RELEASED], jobs[DONE_JOB]:  # Long ago, so that it may go soon, but not unseen.
        assert tomorrow <= over["keys"][0] <= minute_of(utc_now() + timedelta(days=1))
    for bson in (*reservations.values(), *jobs.values()):
        assert not {"stem", "released_at", "waiting"} & bson.keys()
    halves = ("_queue_to_bitmaps", "_write_places", "_write_facets", "_write_holdings", "_write_former_ids")
    for half in (*halves, "_write_marks", "_index_subnets", "_write_keys"):
        getattr(stores.upgrade, half)()  # By a process that started at the same time and is slower.
    stores.indexes.create()
    assert stores.log.about(around_in_pool(POOL, FIRST)) == [1]
    assert stores.log.about(around_in_pool(POOL, FIRST + 1)) == []
    subnet = stores.subnets.get(SUBNET)
    assert (subnet.start, subnet.end) == (FIRST, FIRST + SIZE - 1)
    assert stores.subnets.containing(ip_network(CIDR)[0]) == [subnet]
    assert list(stores.subnets.page(Query(facets=(("tag=old",),))).items) == [subnet]
    with pytest.raises(SubnetOverlap):
        stores.pools.hold_range(replace(subnet, id=ObjectId(), start=FIRST - 1, end=FIRST - 1, cidr=None))
    services = build_services(stores, Settings(), Nobody(), Consulting())
    by_metadata = Query(facets=(metadata_facets("a.b", "7"),))
    assert [lease.address for lease in services.surveying.leases(by_metadata).items] == [FIRST]
    services.jobs.carry_out(SUBNET)
    services.recovery.run()
    ledger = stores.subnets.get(SUBNET).ledger
    assert (ledger.grants, ledger.releases) == ((), ())
    # One stays with its holder, three go to the job that was decided, one to the job that is tried again.
    assert ledger.used == 5
    assert addresses(services, HOLDER) == [FIRST]
    assert list(stores.reservations.get(HOLDER).left) == [(SUBNET, AddressSet.of([FIRST]))]
    every = [lease for reservation in (HOLDER, GRANTED) for lease in leases_of(stores, reservation)]
    assert [stores.leases.get(lease.id) for lease in every] == every
    assert addresses(services, GRANTED) == [FIRST + 1, FIRST + 2, FIRST + 5]
    assert stores.jobs.get(DECIDED_JOB).state is JobState.SUCCEEDED
    assert stores.jobs.get(LOST_JOB).state is JobState.SUCCEEDED
    request = ReservationRequest(count=SIZE - 5)
    rest = services.jobs.accept(ObjectId(), stores.subnets.get(SUBNET), request)
    services.jobs.carry_out(SUBNET)
    assert stores.jobs.get(rest.id).state is JobState.SUCCEEDED
    leases = stores.leases._collection.find()  # noqa: SLF001
    assert sum("reservation" in lease for lease in leases) == SIZE
    assert list(old["leases"].find({"slot": {"$exists": True}})) == []


def test_what_was_cut_short_is_brought_over_by_the_next_attempt(old: Database[Any], monkeypatch):
    stores = Stores(old)
    with monkeypatch.context() as crash:
        crash.setattr(stores.upgrade, "_write_ledgers", lambda _: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            stores.upgrade.run()
    test_a_database_of_the_version_before_is_brought_over(old)
