"""The way to MongoDB, and what becomes of its errors."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any, ParamSpec, TypeVar
from urllib.parse import parse_qs, urlsplit

from pymongo import MongoClient, ReadPreference
from pymongo.collection import Collection
from pymongo.database import Database
from pymongo.errors import (
    AutoReconnect,
    BulkWriteError,
    ConfigurationError,
    ExecutionTimeout,
    InvalidOperation,
    InvalidURI,
    PyMongoError,
)

from ipam.errors import AccessDenied, DatabaseFault, InvalidSettings, Transient

P = ParamSpec("P")
C = TypeVar("C", bound=type)
T = TypeVar("T")
# Keys that one command names: the embedded server compares each document with all of them, and serves no other
# client meanwhile.
KEYS_CHUNK = 16
# Keys a read, for which `KEYS_CHUNK` is too careful: three times as many take the embedded server no longer.
READ_CHUNK = 48
_DUPLICATE_KEY = 11000

# What a client says whose servers are not those of the database any more.
_CLOSED = "after close"
# What MongoDB answers while it shuts down, elects a primary or was asked for too long: trying again is right.
_PASSING_CODES = {50, 89, 91, 189, 262, 10107, 11600, 11602, 13435, 13436}

# Out of disk space, and whatever else a server does not account for.
_FAULT_CODES = {1, 14031}
# Not allowed to do it, and not known.
_NOT_LET_IN_CODES = {13, 18}


def connect(servers: str, database: str, timeout_s: float) -> Database[Any]:
    """Return a lazily connecting client's database; *servers* is a URI or a comma-separated list of host[:port].

    Writes are acknowledged only when they are in the journal (of a majority, for a replica set), because an
    answer must not outlive its reservation. Reads go to the primary, whatever the URI prefers, because what is
    decided by them must not be old. *timeout_s* bounds every call as a whole.

    Raises:
        InvalidSettings: If *servers* is not of that form.
    """
    uri = servers if "://" in servers else f"mongodb://{servers}"
    try:
        concern: dict[str, Any] = {} if "w" in parse_qs(urlsplit(uri).query) else {"w": "majority"}
        client: MongoClient[Any] = MongoClient(
            uri,
            tz_aware=True,
            appname="ipam",
            timeoutMS=int(timeout_s * 1000),
            serverSelectionTimeoutMS=int(timeout_s * 1000),
            connectTimeoutMS=2000,
            journal=True,
            **concern,
        )
    except (InvalidURI, ConfigurationError, ValueError) as error:
        # The value itself is not shown: it may hold a password.
        message = f"--mongo: {error}; give host[:port], several separated by commas, or a mongodb:// URI"
        raise InvalidSettings(message) from None
    return client.get_database(database, read_preference=ReadPreference.PRIMARY)


def create_only_user(servers: str, name: str, password: str, timeout_s: float) -> None:
    """Create a user who may do everything on a server that has no other; wait up to *timeout_s* seconds for it.

    Raises:
        InvalidSettings: If it has other users.
        Transient: If it does not answer.
    """
    with _translating(), connect(servers, "admin", timeout_s).client as client:
        users = [user["user"] for user in client.admin.command("usersInfo")["users"]]
        if name in users:  # Of an attempt that was cut short.
            client.admin.command("dropUser", name)
        if others := [user for user in users if user != name]:
            raise InvalidSettings(f"The database has other users already: {', '.join(others)}.")
        client.admin.command("createUser", name, pwd=password, roles=["root"])


@contextmanager
def _translating() -> Iterator[None]:
    try:
        yield
    except (AutoReconnect, ExecutionTimeout) as error:
        raise Transient("The database did not answer.") from error
    except InvalidOperation as error:
        if _CLOSED not in str(error):
            raise
        raise Transient("The database has moved.") from error
    except PyMongoError as error:
        code = getattr(error, "code", None)
        if error.timeout or code in _PASSING_CODES:
            raise Transient("The database did not answer.") from error
        if code in _FAULT_CODES:
            reason = _said_by(error)
            raise DatabaseFault(
                f"The database fails ({reason}); see its log, and whether its disk is full."
            ) from error
        if code in _NOT_LET_IN_CODES:
            raise AccessDenied(_said_by(error)) from error
        raise


def _said_by(error: PyMongoError) -> str:
    """Return what the database says of an *error* of its own."""
    return str((getattr(error, "details", None) or {}).get("errmsg", "it does not say why"))


def _translated(method: Callable[P, Any]) -> Callable[P, Any]:
    if inspect.isgeneratorfunction(method):  # It reads while its caller iterates.

        @functools.wraps(method)
        def iterate(*args: P.args, **kwargs: P.kwargs) -> Iterator[Any]:
            with _translating():
                yield from method(*args, **kwargs)

        return iterate

    @functools.wraps(method)
    def call(*args: P.args, **kwargs: P.kwargs) -> Any:
        with _translating():
            return method(*args, **kwargs)

    return call


def speaks_mongo(store: C) -> C:
    """Class decorator: the public methods of *store* raise `Transient` when the database is out of reach.

    One that returns what is read only later must be a generator, for then the errors come later too.
    """
    for name, member in vars(store).items():
        if callable(member) and not name.startswith("_"):
            setattr(store, name, _translated(member))
    return store


def chunks(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Yield *items* in order, *size* at a time."""
    rest = iter(items)
    while chunk := list(islice(rest, size)):
        yield chunk


def among(keys: Sequence[Any]) -> Any:
    """Return the condition that a field is one of *keys*; of one it is what every server finds soonest."""
    return keys[0] if len(keys) == 1 else {"$in": list(keys)}


def keys_among(collection: Collection[Any], field: str, values: Iterable[Any]) -> list[Any]:
    """Return the `_id` of all documents with one of *values* in *field*, which has an index; ascending."""
    found: set[Any] = set()
    for some in chunks(values, KEYS_CHUNK):
        found.update(bson["_id"] for bson in collection.find({field: {"$in": some}}, {"_id": 1}))
    return sorted(found)


def insert_missing(collection: Collection[Any], documents: Sequence[dict[str, Any]]) -> None:
    """Insert those of *documents* whose `_id` is not there yet; so doing it again changes nothing.

    Raises:
        Transient: If no majority has them: then they may be gone after an election.
    """
    if not documents:
        return
    try:
        collection.insert_many(documents, ordered=False)
    except BulkWriteError as error:
        if any(fault["code"] != _DUPLICATE_KEY for fault in error.details.get("writeErrors", ())):
            raise
        if error.details.get("writeConcernErrors"):
            raise Transient("The database did not keep the write on a majority of its servers.") from error


@speaks_mongo
class Store:
    """The database as a whole.

    Attributes:
        servers: The servers that are tried, as host:port,host:port.
        source: What says so.
    """

    def __init__(self, database: Database[Any], servers: str, source: str) -> None:
        self._database = database
        self.servers = servers
        self.source = source

    def ping(self) -> None:
        """Ask the database for a sign of life.

        Raises:
            Transient: If it gives none.
        """
        self._database.client.admin.command("ping")

    def close(self) -> None:
        """End all connections; a process that forks must not hand them on."""
        self._database.client.close()
