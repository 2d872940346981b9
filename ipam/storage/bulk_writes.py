"""Bulk writes: ordered writes to one or more collections, in as few calls as the server allows."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from pymongo import InsertOne, MongoClient, UpdateMany, UpdateOne
from pymongo.database import Database
from pymongo.errors import ClientBulkWriteException, DuplicateKeyError

from ipam.errors import Transient
from ipam.storage.connection import insert_missing, speaks_mongo

Bson = dict[str, Any]
# In one call for all collections, so many documents are written sooner than in a call for each; more are not.
_FEW = 40
# For so many times as long as one of many writes took, nothing is written.
_REST = 1.5
# From this version of MongoDB on one call may write to several collections.
_TAKES_SEVERAL_SINCE = 8
# Only the embedded server says so of itself. It acknowledges such a call before it is in the journal, whatever the
# write concern demands: without a further write, of 13,425 such calls 401 were gone after a kill.
_EMBEDDED = "secantusVersion"


@contextmanager
def sparing() -> Iterator[None]:
    """Wait at the end of the block: while a large job makes many such writes, others get most of the time."""
    began = time.monotonic()
    yield
    time.sleep(_REST * (time.monotonic() - began))


@dataclass(frozen=True, slots=True)
class Writes:
    """Writes to one *collection*, in no order; to make them twice changes nothing.

    Attributes:
        inserts: New documents; those whose `_id` is there already are left alone.
        updates: Filters by `_id`, one or some, and how what each finds is changed.
        successors: Documents with a `version`, each to take the place of the version before it, the first one of
            none. What is behind one that finds another version is not made.
    """

    collection: str
    inserts: Sequence[Bson] = ()
    updates: Sequence[tuple[Bson, Bson]] = ()
    successors: Sequence[Bson] = ()

    def __len__(self) -> int:
        return len(self.inserts) + len(self.updates) + len(self.successors)


@speaks_mongo
class BulkWriter:
    """Makes writes in the database, after it has asked its server once whether one call may make several."""

    def __init__(self, database: Database[Any]) -> None:
        self._database = database
        self._asked: MongoClient[Any] | None = None
        self._takes_several = self._journals_several = False

    def write(self, steps: Iterable[Writes]) -> bool:
        """Make all of *steps*, each after the ones before it; False if that ended at a successor.

        Raises:
            Transient: If no majority has them: then they may be gone after an election.
        """
        return all(
            self._write_at_once(group) or all(map(self._write, group))
            for group in _groups(step for step in steps if step)
        )

    def _write(self, step: Writes) -> bool:
        collection = self._database[step.collection]
        insert_missing(collection, step.inserts)
        if step.updates:
            collection.bulk_write([_update(*update) for update in step.updates], ordered=False)
        try:
            for document in step.successors:
                collection.update_one(*_succession(document), upsert=True)
        except DuplicateKeyError:
            return False
        return True

    def _write_at_once(self, steps: Sequence[Writes]) -> bool:
        """Make *steps* in one call; False if that is of no use, or it does not go as it should."""
        client = self._database.client  # The same one throughout, though the database may move meanwhile.
        if len(steps) == 1 or not self._ask_whether_several(client):
            return False
        models = [model for step in steps for model in _models(step, f"{self._database.name}.{step.collection}")]
        is_complete = True
        try:
            client.bulk_write(models, ordered=True)
        except ClientBulkWriteException as failure:
            if failure.error is not None:
                raise failure.error from failure
            if failure.write_concern_errors:
                raise Transient("The database did not keep the write on a majority of its servers.") from failure
            is_complete = False  # The first document that is there already ends it.
        if not self._journals_several:
            self._journal()
        return is_complete

    def _journal(self) -> None:
        """Have everything that was written before in the journal, by one more write, which waits for that.

        The journal is one sequence, so what comes before this in it is as durable as this is. It must change
        something: a write that changes nothing is not journalled.
        """
        self._database["positions"].update_one({"_id": "journal"}, {"$inc": {"writes": 1}}, upsert=True)

    def _ask_whether_several(self, client: MongoClient[Any]) -> bool:
        if client is not self._asked:
            server = client.server_info()
            self._takes_several = server["versionArray"][0] >= _TAKES_SEVERAL_SINCE
            self._journals_several = _EMBEDDED not in server
            self._asked = client
        return self._takes_several


def _groups(steps: Iterable[Writes]) -> Iterator[list[Writes]]:
    """Yield *steps* in order, those together that are few enough for one call."""
    group: list[Writes] = []
    for step in steps:
        if group and sum(map(len, group)) + len(step) > _FEW:
            yield group
            group = []
        group.append(step)
    if group:
        yield group


def _models(step: Writes, namespace: str) -> Iterator[InsertOne[Bson] | UpdateOne | UpdateMany]:
    yield from (InsertOne(document, namespace) for document in step.inserts)
    yield from (_update(*update, namespace) for update in step.updates)
    for document in step.successors:
        yield UpdateOne(*_succession(document), upsert=True, namespace=namespace)


def _update(wanted: Bson, change: Bson, namespace: str | None = None) -> UpdateOne | UpdateMany:
    one_or_many = UpdateMany if isinstance(wanted["_id"], dict) else UpdateOne
    return one_or_many(wanted, change, namespace=namespace)


def _succession(document: Bson) -> tuple[Bson, Bson]:
    """Return the compare-and-set of *document*: an upsert that fails unless the version before is stored."""
    rest = {name: value for name, value in document.items() if name != "_id"}
    return {"_id": document["_id"], "version": document["version"] - 1}, {"$set": rest}
