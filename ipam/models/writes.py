"""Writes that follow each other, of several collections perhaps, in as few calls as the server needs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from pymongo import InsertOne, UpdateOne
from pymongo.database import Database
from pymongo.errors import ClientBulkWriteException

from ipam.errors import Transient
from ipam.models.connection import insert_missing, speaks_mongo

Bson = dict[str, Any]
# In one call for all collections, so many documents are written sooner than in a call for each; more are not.
_FEW = 32
# MongoDB 8.0, by its wire protocol.
_WRITES_ACROSS_SINCE = 25


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
    """Makes writes in the database; whether its server takes those of several collections at once it asks once."""

    def __init__(self, database: Database[Any]) -> None:
        self._database = database
        # What stands for a database in tests knows no such call.
        self._across: bool | None = None if isinstance(database, Database) else False

    def write(self, steps: Sequence[Writes]) -> None:
        """Make all of *steps*, each after the ones before it.

        Raises:
            Transient: If no majority has them: then they may be gone after an election.
        """
        if not self._write_across(steps):
            for step in steps:
                collection = self._database[step.collection]
                insert_missing(collection, step.inserts)
                if step.updates:
                    collection.bulk_write([UpdateOne(*update) for update in step.updates], ordered=False)

    def _write_across(self, steps: Sequence[Writes]) -> bool:
        """Make *steps* in one call; False if they are too many for it, or it does not go as it should."""
        if sum(map(len, steps)) > _FEW or not self._can_write_across():
            return False
        models = [model for step in steps for model in _models(step, f"{self._database.name}.{step.collection}")]
        try:
            self._database.client.bulk_write(models, ordered=True)
        except ClientBulkWriteException as failure:
            if failure.error is not None:
                raise failure.error from failure
            if failure.write_concern_errors:
                raise Transient("The database did not keep the write on a majority of its servers.") from failure
            return False  # The first document that is there already ends it.
        return True

    def _can_write_across(self) -> bool:
        if self._across is None:
            hello = self._database.client.admin.command("hello")
            self._across = hello["maxWireVersion"] >= _WRITES_ACROSS_SINCE
        return self._across


def _models(step: Writes, namespace: str) -> Iterator[InsertOne[Bson] | UpdateOne]:
    yield from (InsertOne(document, namespace) for document in step.inserts)
    yield from (UpdateOne(*update, namespace=namespace) for update in step.updates)
