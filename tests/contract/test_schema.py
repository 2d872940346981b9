"""A database says which version of ipam its documents are of."""

import threading
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
from pymongo.database import Database

from ipam.errors import InvalidSettings
from ipam.storage.connection import connect
from ipam.storage.schema import SCHEMA_VERSION
from ipam.storage.stores import Stores


@pytest.fixture
def empty(database: str) -> Iterator[Database[Any]]:
    opened = connect(database, f"schema-{uuid4().hex[:8]}", 20)
    yield opened
    opened.client.drop_database(opened.name)
    opened.client.close()


def test_a_new_database_is_marked_and_known_again(empty: Database[Any]):
    stores, refused = Stores(empty), []

    def start() -> None:
        try:
            stores.schema.check()
            stores.indexes.create()
        except InvalidSettings as error:
            refused.append(error)

    at_once = [threading.Thread(target=start) for _ in range(4)]
    for thread in at_once:
        thread.start()
    for thread in at_once:
        thread.join()
    assert not refused
    assert list(empty["positions"].find()) == [{"_id": "schema", "version": SCHEMA_VERSION}]
    stores.schema.check()


@pytest.mark.parametrize("version", [SCHEMA_VERSION - 1, SCHEMA_VERSION + 1, None])
def test_a_database_of_another_version_is_refused_and_left_as_it_is(empty: Database[Any], version: int | None):
    stores = Stores(empty)
    stores.indexes.create()
    if version is not None:
        empty["positions"].insert_one({"_id": "schema", "version": version})
    before = list(empty["positions"].find())
    written = (
        "was written before there were schema versions" if version is None else f"has schema version {version}"
    )
    with pytest.raises(InvalidSettings, match=f"{written}, and this version of ipam reads {SCHEMA_VERSION}; run"):
        stores.schema.check()
    assert list(empty["positions"].find()) == before
