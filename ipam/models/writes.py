"""Writes that follow each other, of several collections perhaps, in as few calls as the server needs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from pymongo import InsertOne, MongoClient, UpdateOne
from pymongo.database import Database
from pymongo.errors import ClientBulkWriteException

from ipam.errors import Transient
from ipam.models.connection import insert_missing, speaks_mongo

Bson = dict[str, Any]
# In one call for all collections, so many documents are written sooner than in a call for each; more are not.
_FEW = 32
# From this version of MongoDB on one call may write to several collections.
_TAKES_SEVERAL_SINCE = 8


@dataclass(frozen=True, slots=True)
class Writes:
    """Writes to one *collection*, in no order; to make them twice changes nothing.

    Attributes:
        inserts: New documents; those whose `_id` is there already are left alone.
        updates: Filters of which each finds one document at most, and how that is changed.
    """

    collection: str
    inserts: Sequence[Bson] = ()
    updates: Sequence[tuple[Bson, Bson]] = ()

    def __len__(self) -> int:
        return len(self.inserts) + len(self.updates)


@speaks_mongo
class Writer:
    """Makes writes in the database, after it has asked its server once whether one call may make several."""

    def __init__(self, database: Database[Any]) -> None:
        self._database = database
        self._asked: MongoClient[Any] | None = None
        self._takes_several = False

    def write(self, steps: Iterable[Writes]) -> None:
        """Make all of *steps*, each after the ones before it.

        Raises:
            Transient: If no majority has them: then they may be gone after an election.
        """
        wanted = [step for step in steps if step]
        if not wanted or self._write_at_once(wanted):
            return
        for step in wanted:
            collection = self._database[step.collection]
            insert_missing(collection, step.inserts)
            if step.updates:
                collection.bulk_write([UpdateOne(*update) for update in step.updates], ordered=False)

    def _write_at_once(self, steps: Sequence[Writes]) -> bool:
        """Make *steps* in one call; False if they are too many for it, or it does not go as it should."""
        client = self._database.client  # The same one throughout, though the database may move meanwhile.
        if sum(map(len, steps)) > _FEW or not self._ask_whether_several(client):
            return False
        models = [model for step in steps for model in _models(step, f"{self._database.name}.{step.collection}")]
        try:
            client.bulk_write(models, ordered=True)
        except ClientBulkWriteException as failure:
            if failure.error is not None:
                raise failure.error from failure
            if failure.write_concern_errors:
                raise Transient("The database did not keep the write on a majority of its servers.") from failure
            return False  # The first document that is there already ends it.
        return True

    def _ask_whether_several(self, client: MongoClient[Any]) -> bool:
        if client is not self._asked:
            self._takes_several = client.server_info()["versionArray"][0] >= _TAKES_SEVERAL_SINCE
            self._asked = client
        return self._takes_several


def _models(step: Writes, namespace: str) -> Iterator[InsertOne[Bson] | UpdateOne]:
    yield from (InsertOne(document, namespace) for document in step.inserts)
    yield from (UpdateOne(*update, namespace=namespace) for update in step.updates)
