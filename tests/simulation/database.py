"""A database in memory whose every command is a place where others go on, and where it may fail.

A command that writes several documents is not one step, no more than on a server: others get between its documents.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import mongomock
from mongomock import DuplicateKeyError
from pymongo import UpdateMany, UpdateOne
from pymongo.errors import AutoReconnect, BulkWriteError

from ipam.storage.indexes import INDEXES
from tests.simulation.scheduler import Command, Scheduler

_DUPLICATE_KEY = 11000
_TOO_LARGE = 10334
# No document of this name can be stored: whatever it is that a database will not take, and nobody has thought of.
POISON = "poison"
# Collections that no history writes to; recovery looks at them in vain, which is no step of a history.
_NEVER_USED = ("tokens",)


class Collection:
    """One collection; *after_write* is called whenever a document of it may have changed."""

    def __init__(
        self, plain: mongomock.Collection, scheduler: Scheduler, after_write: Callable[[str], None]
    ) -> None:
        self._plain = plain
        self._scheduler = scheduler
        self._after_write = after_write

    def find_one(self, *arguments: Any) -> Any:
        return self._read("find_one", *arguments)

    def find(self, *arguments: Any) -> Any:
        return self._read("find", *arguments)

    def count_documents(self, *arguments: Any) -> Any:
        return self._read("count_documents", *arguments)

    def update_one(self, *arguments: Any, upsert: bool = False) -> Any:
        return self._write("update_one", *arguments, upsert)

    def insert_one(self, document: dict[str, Any]) -> None:
        self._write("insert_one", document)

    def delete_one(self, *arguments: Any) -> Any:
        return self._write("delete_one", *arguments)

    def update_many(self, wanted: Mapping[str, Any], change: Mapping[str, Any]) -> SimpleNamespace:
        modified = 0
        for bson in list(self.find(wanted, {"_id": 1})):
            modified += self.update_one({"$and": [{"_id": bson["_id"]}, wanted]}, change).modified_count
        return SimpleNamespace(modified_count=modified)

    def delete_many(self, wanted: Mapping[str, Any]) -> None:
        for bson in list(self.find(wanted, {"_id": 1})):
            self.delete_one({"$and": [{"_id": bson["_id"]}, wanted]})

    def bulk_write(self, operations: Sequence[UpdateOne | UpdateMany], *, ordered: bool) -> SimpleNamespace:
        assert not ordered
        modified = 0
        for operation in operations:
            update = self.update_many if isinstance(operation, UpdateMany) else self.update_one
            modified += update(operation._filter, operation._doc).modified_count  # noqa: SLF001
        return SimpleNamespace(modified_count=modified)

    def insert_many(self, documents: Sequence[dict[str, Any]], *, ordered: bool) -> None:
        assert not ordered
        faults = []
        for document in documents:
            if document.get("name") == POISON:
                faults.append({"code": _TOO_LARGE})
                continue
            try:
                self._write("insert_one", document)
            except DuplicateKeyError:
                faults.append({"code": _DUPLICATE_KEY})
        if faults:
            raise BulkWriteError({"writeErrors": faults})

    def _read(self, method: str, *arguments: Any) -> Any:
        if self._scheduler.before_command(Command(f"{self._plain.name}.{method}", arguments)):
            raise AutoReconnect("the connection broke")
        return getattr(self._plain, method)(*arguments)

    def _write(self, method: str, *arguments: Any) -> Any:
        failing = self._scheduler.before_command(Command(f"{self._plain.name}.{method}", arguments))
        if failing and self._scheduler.toss("it fails before it took effect", "it fails after it took effect"):
            raise AutoReconnect("the connection broke before the write took effect")
        outcome = getattr(self._plain, method)(*arguments)
        self._after_write(self._plain.name)
        if failing:
            raise AutoReconnect("the connection broke after the write took effect")
        return outcome


class Database:
    """Stands for a `pymongo` database; *plain* is what is in it, to be looked at from outside."""

    def __init__(self, scheduler: Scheduler, after_write: Callable[[str], None]) -> None:
        self.plain = mongomock.MongoClient(tz_aware=True)["ipam"]
        for collection, indexes in INDEXES.items():
            unique = [index for index in indexes if index.document.get("unique")]
            if unique:
                self.plain[collection].create_indexes(unique)
        self._scheduler = scheduler
        self._after_write = after_write

    @property
    def client(self) -> Any:
        """That of an older server: it writes to one collection at a time."""
        return self.plain.client

    def __getitem__(self, name: str) -> Any:
        if name in _NEVER_USED:
            return self.plain[name]
        return Collection(self.plain[name], self._scheduler, self._after_write)
