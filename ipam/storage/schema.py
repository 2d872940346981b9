"""The version of the form in which documents are stored."""

from __future__ import annotations

from typing import Any

from pymongo.database import Database

from ipam.errors import InvalidSettings
from ipam.storage.connection import insert_missing, speaks_mongo

# To be raised when documents change so that an older version cannot read them, or this one not the older ones.
SCHEMA_VERSION = 2
_SCHEMA = "schema"
# A database that ipam has written has these collections: their indexes are created at its first start.
_CREATED_FIRST = {"pools", "reservations"}


@speaks_mongo
class SchemaStore:
    """The document `schema` of the collection `positions`."""

    def __init__(self, database: Database[Any]) -> None:
        self._database = database
        self._positions = database["positions"]

    def check(self) -> None:
        """Make sure that the database is new, and mark it as of this version, or that it has that mark.

        Raises:
            InvalidSettings: If it was written by another version.
            Transient: If it does not answer.
        """
        # The mark is written before anything else, so a process that sees something else also sees the mark.
        is_new = _CREATED_FIRST.isdisjoint(self._database.list_collection_names())
        if is_new:
            insert_missing(self._positions, [{"_id": _SCHEMA, "version": SCHEMA_VERSION}])
        found = self._positions.find_one({"_id": _SCHEMA})
        version = found["version"] if found else None
        if version != SCHEMA_VERSION:
            written = f"has schema version {version}" if found else "was written before there were schema versions"
            raise InvalidSettings(
                f"--database={self._database.name}: this database {written}, and this version of ipam reads "
                f"{SCHEMA_VERSION}; run the version that wrote it, or begin with an empty database: name another "
                "--database, or for `ipam up` another --data folder"
            )
