"""A database that can be somewhere else tomorrow: what the stores hold goes on there."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, cast

from pymongo import timeout
from pymongo.collection import Collection
from pymongo.database import Database

from ipam.storage.connection import connect

_CLOSES_AFTER_S = 2.0
_CLOSES_WITHIN_S = 0.5


def connect_failover(
    servers: str, database: str, timeout_s: float, follow: Callable[[Callable[[str], None]], None]
) -> Database[Any]:
    """Connect as `connect` does, and again wherever *follow*, which is called once, says that the servers are."""
    moving = FailoverDatabase(connect(servers, database, timeout_s))
    follow(lambda moved: moving.move(connect(moved, database, timeout_s)))
    return cast("Database[Any]", moving)


class FailoverDatabase:
    """Stands in for the database of a client that is replaced when its servers change."""

    def __init__(self, database: Database[Any]) -> None:
        self.current = database

    def __getitem__(self, name: str) -> MovingCollection:
        return MovingCollection(self, name)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.current, name)

    def move(self, database: Database[Any]) -> None:
        """Use *database* from the next call on.

        Calls on their way have a moment to end; those that wait for a server which is gone end then.
        """
        former, self.current = self.current, database
        closing = threading.Timer(_CLOSES_AFTER_S, _close, (former,))
        closing.daemon = True
        closing.start()


def _close(database: Database[Any]) -> None:
    with timeout(_CLOSES_WITHIN_S):  # It says goodbye first, to servers that may be gone.
        database.client.close()


class MovingCollection:
    """A collection of whatever the database is at the moment."""

    def __init__(self, database: FailoverDatabase, name: str) -> None:
        self._database = database
        self._name = name
        self._seen: tuple[Database[Any], Collection[Any]] | None = None

    def __getattr__(self, name: str) -> Any:
        seen, current = self._seen, self._database.current
        if seen is None or seen[0] is not current:
            self._seen = seen = (current, current[self._name])
        return getattr(seen[1], name)
