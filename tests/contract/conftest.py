"""The stores on a real server, in a database of their own."""

from collections.abc import Iterator
from uuid import uuid4

import pytest

from ipam.storage.connection import connect
from ipam.storage.stores import Stores


@pytest.fixture(scope="session")
def database_name() -> str:
    return f"contract-{uuid4().hex[:8]}"


@pytest.fixture
def stores(database: str, database_name: str) -> Iterator[Stores]:
    opened = Stores(connect(database, database_name, 20))
    opened.indexes.create()
    yield opened
    opened.whole.close()
