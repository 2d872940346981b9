"""Answers that are kept under idempotency keys."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from bson import ObjectId
from pymongo.database import Database

from ipam.models.search_keys import KEEP_ANSWERS, expiry_keys
from ipam.storage.connection import insert_missing, speaks_mongo
from ipam.util.clock import utc_now


@dataclass(frozen=True, slots=True)
class Answer:
    """A final answer: HTTP status, headers and body."""

    status: int
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Record:
    """The record of an idempotency key.

    Attributes:
        fingerprint: Digest of the request that came first.
        resource: The id that whatever it creates has, so that doing it again creates nothing more.
        answer: The final answer, None while there is none.
    """

    fingerprint: str
    resource: ObjectId
    answer: Answer | None


@speaks_mongo
class IdempotencyStore:
    """The collection `idempotency`; a record is forgotten after 24 hours."""

    def __init__(self, database: Database[Any]) -> None:
        self._collection = database["idempotency"]

    def begin(self, key: str, fingerprint: str, resource: ObjectId) -> Record:
        """Return the record under *key*, which the first caller wrote; that may be this one."""
        new: dict[str, Any] = {
            "_id": key,
            "fingerprint": fingerprint,
            "resource": resource,
            "answer": None,
            "keys": expiry_keys(utc_now() + KEEP_ANSWERS),
        }
        insert_missing(self._collection, [new])
        found = self._collection.find_one({"_id": key}) or new
        answer = found["answer"]
        return Record(found["fingerprint"], found["resource"], Answer(**answer) if answer else None)

    def renew(self, key: str, spent: ObjectId) -> None:
        """Give the record under *key* a new resource in the place of *spent*, of which nothing has come."""
        self._collection.update_one(
            {"_id": key, "resource": spent, "answer": None}, {"$set": {"resource": ObjectId()}}
        )

    def finish(self, key: str, answer: Answer) -> Answer:
        """Keep the final answer, unless there is one already; returns the one that is kept."""
        kept = {"status": answer.status, "headers": answer.headers, "body": answer.body}
        written = self._collection.update_one({"_id": key, "answer": None}, {"$set": {"answer": kept}})
        found = None if written.modified_count else self._collection.find_one({"_id": key})
        return Answer(**found["answer"]) if found else answer
