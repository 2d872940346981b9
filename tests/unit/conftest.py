"""Stores without a server, for logic only: mongomock has one thread, no races and no crashes."""

import mongomock
import pytest
from bson import ObjectId
from mongomock.collection import BulkOperationBuilder

from ipam.allocation.dispatcher import JobResults
from ipam.hooks.admission import AdmissionController
from ipam.settings import Settings
from ipam.storage.stores import Stores
from ipam.wiring import Services, build_services


class Recorder:
    """A dispatcher that sends nothing and remembers what it was to send."""

    def __init__(self) -> None:
        self.dispatched: list[ObjectId] = []
        self.announced: list[ObjectId] = []

    def dispatch(self, target: ObjectId, pause_s: float = 0.0) -> None:  # noqa: ARG002
        self.dispatched.append(target)

    def publish_results(self, ends: JobResults) -> None:
        self.announced += ends


@pytest.fixture
def plain() -> mongomock.Database:
    """What the stores are on."""
    return mongomock.MongoClient(tz_aware=True)["ipam"]


@pytest.fixture
def stores(plain: mongomock.Database, monkeypatch: pytest.MonkeyPatch) -> Stores:
    add = BulkOperationBuilder.add_update

    def add_update(self, *args, sort=None, **kwargs):
        assert sort is None
        return add(self, *args, **kwargs)

    # mongomock 4.3 does not know the argument `sort` that pymongo passes since 4.11.
    monkeypatch.setattr(BulkOperationBuilder, "add_update", add_update)
    return Stores(plain)


@pytest.fixture
def dispatcher() -> Recorder:
    return Recorder()


@pytest.fixture
def services(stores: Stores, dispatcher: Recorder) -> Services:
    return build_services(stores, Settings(), dispatcher, AdmissionController())
