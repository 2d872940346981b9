"""The store of tokens."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from bson import ObjectId
from pymongo.database import Database

from ipam.errors import NotFound
from ipam.models import event_factory
from ipam.models.document import check_revision, succeeded_by
from ipam.models.search_keys import KEEP_TOMBSTONES, expiry_keys
from ipam.models.token import Role, Token, TokenState, token_id
from ipam.storage.connection import insert_missing, speaks_mongo
from ipam.storage.document_store import DocumentStore, moved_on
from ipam.storage.outbox import telling, telling_new
from ipam.util.clock import utc_now
from ipam.util.retry import retry_on_conflict

# How exactly it is known when a token was used last: each use that is written costs its request a call.
_USE_KNOWN_TO = timedelta(minutes=1)
_DROPPED = dict.fromkeys(sorted(Token.dropped_keys()), 1)


@speaks_mongo
class TokenStore(DocumentStore[Token]):
    """The collection `tokens`."""

    kind = Token.type_name
    visible = {"state": TokenState.ACTIVE.value}

    def __init__(self, database: Database[Any]) -> None:
        super().__init__(database, Token.from_bson)

    def id_of(self, text: str) -> ObjectId:
        """Return the id that *text* spells.

        Raises:
            NotFound: If it spells none.
        """
        if (id_ := token_id(text)) is None:
            message = f"There is no token {text!r}: an id is 12 letters and digits, the second part of a token."
            raise NotFound(message)
        return id_

    def insert(self, token: Token) -> None:
        """Store a new token."""
        event = event_factory.created(token)
        insert_missing(self._collection, [telling_new(token.to_bson(), event)])
        self._tell(token, event)

    def has_admin(self) -> bool:
        """Return whether there is a token that can create others."""
        return self._collection.find_one({**self.visible, "role": Role.ADMIN.value}) is not None

    def mark_used(self, token: Token) -> None:
        """Keep that *token* is used now, unless that is known to the minute."""
        now = utc_now()
        if token.last_used_at is None or now - token.last_used_at > _USE_KNOWN_TO:
            self._collection.update_one({"_id": token.id, **self.visible}, {"$max": {"last_used_at": now}})

    def delete(self, id_: ObjectId, revisions: frozenset[int] | None = None) -> None:
        """Delete a token.

        Raises:
            NotFound: If there is no such token.
            Stale: If its revision is not among *revisions*, None accepting any.
        """

        def attempt() -> None:
            token = self.get(id_)
            check_revision(self.kind, token.revision, revisions)
            gone = succeeded_by(token)
            fields = {"state": TokenState.DELETED.value, "keys": expiry_keys(utc_now() + KEEP_TOMBSTONES)}
            change = {**moved_on(gone, **fields), "$unset": _DROPPED}
            written = self._collection.update_one(
                {"_id": id_, **self.visible, "revision": token.revision},
                telling(change, event := event_factory.deleted(gone)),
            )
            if not written.modified_count:
                raise self._changed(id_)
            self._tell(token, event)

        retry_on_conflict(attempt)

    def missing(self, id_: ObjectId) -> NotFound:
        """Return what to raise when there is no token called *id_*."""
        return NotFound(f"There is no token {id_.binary.decode('ascii')}.")
