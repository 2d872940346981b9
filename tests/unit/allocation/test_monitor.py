"""What the database shows of other processes; without a server."""

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
from bson import ObjectId

from ipam.allocation.monitor import Monitor
from ipam.events.publisher import Publisher
from ipam.events.relay import Relay
from ipam.models.pool import Pool
from ipam.models.reservation_request import ReservationRequest
from ipam.util import clock
from tests.support.steps import make_subnet, reserve


@pytest.fixture
def later(monkeypatch):
    """Let time pass, for whoever looks."""

    def pass_(seconds: float) -> None:
        now = datetime.now(UTC) + timedelta(seconds=seconds)
        monkeypatch.setattr(clock, "datetime", SimpleNamespace(now=lambda _: now))

    return pass_


def test_recovery_is_missing_then_there_then_overdue(stores, later):
    monitor = Monitor(stores)
    assert monitor.recovery()["status"] == "missing"
    monitor.recovered(2)
    assert monitor.recovery()["status"] == "ok"
    later(31)
    assert monitor.recovery()["status"] == "late"
    monitor.recovered(60)
    later(31 + 299)
    assert monitor.recovery()["status"] == "ok"
    later(31 + 301)
    assert monitor.recovery()["status"] == "late"


def test_a_relay_is_missing_or_there_or_late(services, stores, later):
    monitor, relay = Monitor(stores), Relay(stores)
    services.provisioner.create_pool(Pool(id=ObjectId()))
    assert monitor.relay()["status"] == "missing"
    assert relay._lead() is not None  # noqa: SLF001
    assert monitor.relay()["status"] == "ok"
    later(14)  # Its lead is over for nine seconds, and what happened waits for fourteen.
    assert monitor.relay()["status"] == "late"
    assert monitor.relay()["behind_s"] == pytest.approx(14, abs=1)
    later(16)
    assert monitor.relay()["status"] == "missing"
    later(0)
    relay.step()
    assert monitor.relay() == {"status": "ok", "behind_s": 0.0}


class NoBus:
    """Takes nothing."""

    max_bytes = 1000

    def publish(self, _message) -> None:
        raise AssertionError

    def close(self) -> None:
        pass


def test_a_bus_is_none_or_as_far_as_it_was_told(services, stores, later):
    monitor = Monitor(stores)
    assert monitor.bus() == {"status": "none"}
    relay = Relay(stores, Publisher(stores.log, stores.leader_lease, NoBus(), "/ipam"))
    assert relay._lead() is not None  # noqa: SLF001
    assert monitor.bus() == {"status": "ok", "behind": 0, "behind_s": 0.0}
    for _ in range(3):
        services.provisioner.create_pool(Pool(id=ObjectId()))
    while relay.step():
        pass
    assert (monitor.bus()["status"], monitor.bus()["behind"]) == ("ok", 3)
    later(11)
    assert (monitor.bus()["status"], monitor.bus()["behind"]) == ("late", 3)


def test_the_queue_has_what_is_open(services, stores):
    monitor, subnet = Monitor(stores), make_subnet(services)
    assert monitor.queue() == {"status": "ok", "open": 0, "oldest_s": 0.0}
    reserve(services, subnet, 1)
    assert monitor.queue()["open"] == 0
    for _ in range(2):
        services.job_queue.accept(ObjectId(), subnet, ReservationRequest())
    assert monitor.queue()["open"] == 2
