"""Writes that follow each other, in one call where the server can and in a call for each collection."""

from typing import cast

import pytest
from bson import ObjectId
from pymongo.database import Database
from pymongo.errors import PyMongoError

from ipam.storage import bulk_writes
from ipam.storage.bulk_writes import _FEW, Writes
from ipam.storage.connection import connect
from ipam.storage.failover import FailoverDatabase
from ipam.storage.stores import Stores

TOO_LARGE = "x" * 17_000_000


@pytest.fixture(params=["at once", "one after the other"])
def written(request, stores: Stores, monkeypatch):
    """What stands in two collections after some steps, by the names of the documents."""
    if request.param != "at once":
        monkeypatch.setattr(bulk_writes, "_FEW", 0)
    pools, jobs = (store._collection for store in (stores.pools, stores.jobs))  # noqa: SLF001

    def write(*steps: Writes) -> tuple[dict, dict]:
        made = {one["_id"] for step in steps for one in (*step.inserts, *step.successors)}
        try:
            write.ended = stores.writer.write(steps)
        finally:
            write.found = [
                {one["name"]: one["value"] for one in collection.find({"_id": {"$in": list(made)}})}
                for collection in (pools, jobs)
            ]
        return tuple(write.found)

    return write


def new(name: str, value: int = 0, id_: ObjectId | None = None) -> dict:
    return {"_id": id_ or ObjectId(), "name": name, "value": value}


@pytest.mark.parametrize("moves", [False, True])
def test_few_writes_are_one_call_with_and_without_failover(database, database_name, monkeypatch, moves):
    real = connect(database, database_name, 10)
    stores = Stores(cast("Database", FailoverDatabase(real)) if moves else real)
    monkeypatch.delattr(bulk_writes, "insert_missing")
    first, second = new("a"), new("b")
    stores.writer.write([Writes("pools", inserts=[first]), Writes("jobs", inserts=[second])])
    assert (real["pools"].find_one(first["_id"]), real["jobs"].find_one(second["_id"])) == (first, second)
    real.client.close()


def test_a_call_that_the_server_does_not_journal_is_followed_by_one_that_it_does(stores: Stores):
    positions = stores.pools._collection.database["positions"]  # noqa: SLF001

    def journalled() -> int:
        return (positions.find_one({"_id": "journal"}) or {"writes": 0})["writes"]

    is_embedded = "secantusVersion" in positions.database.client.server_info()
    first, second, before = new("a"), new("b"), journalled()
    for _ in range(2):  # The second time everything is there already, which ends the call early.
        stores.writer.write([Writes("pools", inserts=[first]), Writes("jobs", inserts=[second])])
    assert journalled() - before == (2 if is_embedded else 0)


def test_bulk_write_of_nothing_makes_no_call(written):
    assert written() == written(Writes("pools"), Writes("jobs")) == ({}, {})


def test_step_of_a_bulk_write_sees_those_before_it(written):
    first, second = new("a"), new("b")
    steps = (
        Writes("pools", inserts=[first]),
        Writes("jobs", inserts=[second]),
        Writes("pools", updates=[({"_id": first["_id"], "value": 0}, {"$inc": {"value": 1}})]),
        Writes("pools", updates=[({"_id": first["_id"], "value": 0}, {"$inc": {"value": 1}})]),
    )
    assert written(*steps) == ({"a": 1}, {"b": 0})


def test_bulk_write_leaves_stored_documents_alone_and_makes_the_rest(written):
    there, other = new("there"), new("other")
    written(Writes("pools", inserts=[there]))
    again = new("again", id_=there["_id"])
    steps = (Writes("pools", inserts=[again, other]), Writes("jobs", inserts=[new("behind")]))
    assert written(*steps) == ({"there": 0, "other": 0}, {"behind": 0})


def version(name: str, number: int, id_: ObjectId) -> dict:
    return {"_id": id_, "name": name, "value": number, "version": number}


def test_a_document_takes_the_place_of_the_version_before_it(written):
    id_ = ObjectId()
    for number in (1, 2):
        behind = new("behind")
        steps = (Writes("pools", successors=[version("a", number, id_)]), Writes("jobs", inserts=[behind]))
        assert written(*steps) == ({"a": number}, {"behind": 0})
        assert written.ended is True


@pytest.mark.parametrize("number", [1, 2, 4])
def test_behind_one_that_finds_another_version_nothing_is_made(written, number):
    """Neither the first one, which expects that there is none, nor one that comes late or too early."""
    id_ = ObjectId()
    for there in (1, 2):
        written(Writes("pools", successors=[version("there", there, id_)]))
    before, behind = new("before"), new("behind")
    steps = (
        Writes("jobs", inserts=[before]),
        Writes("pools", successors=[version("late", number, id_)]),
        Writes("jobs", inserts=[behind]),
    )
    assert written(*steps) == ({"there": 2}, {"before": 0})
    assert written.ended is False


def test_many_writes_come_to_the_same_as_few(written):
    many = [new(str(n)) for n in range(_FEW + 1)]
    assert written(Writes("pools", inserts=many))[0] == {str(n): 0 for n in range(_FEW + 1)}


def test_bulk_write_ends_at_a_successor_that_cannot_be_stored(written):
    steps = (
        Writes("pools", inserts=[new("before")]),
        Writes("pools", inserts=[{**new("too large"), "more": TOO_LARGE}]),
        Writes("jobs", inserts=[new("behind")]),
    )
    with pytest.raises(PyMongoError):
        written(*steps)
    assert written.found == [{"before": 0}, {}]
