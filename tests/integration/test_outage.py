"""Parts go away and come back; ipam says so and goes on without a restart."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis

from ipam.embedded.processes import mongo_uri
from tests.support import servers
from tests.support.example_consumers import tail
from tests.support.servers import Process, wait_until
from tests.support.stack import Stack, created, problem


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Stack, Process, Process]]:
    """A stack with a database and a broker that a test may stop, if it starts them again."""
    folder = tmp_path_factory.mktemp("parts")
    database, broker = servers.database(folder), servers.redis(folder)
    database.start()
    broker.start()
    broker_url = f"redis://127.0.0.1:{broker.part.port}/0"
    stack = Stack(mongo_uri(database.part.port), broker_url, folder, IPAM_MONGO_TIMEOUT_S="2")
    stack.start()
    yield stack, database, broker
    stack.stop()
    broker.stop()
    database.stop()


def test_outage_of_the_database_is_answered_quickly_and_passes_by_itself(parts: tuple[Stack, Process, Process]):
    stack, database, _ = parts
    subnet = stack.api.subnet(cidr="10.0.0.0/24")
    path = f"/subnets/{subnet['id']}/reservations"
    created(stack.api.post(path))
    with database.away():
        answer = stack.api.get("/pools", timeout=50)
        assert problem(answer) == (503, "unavailable")
        assert int(answer.headers["Retry-After"]) > 0
        assert stack.api.get("/livez").status_code == 200
        ready = stack.api.get("/readyz")
        assert problem(ready) == (503, "unavailable")
        assert ready.json()["parts"]["database"] != "ok"
        assert ready.json()["parts"]["broker"] == "ok"
        assert problem(stack.api.post(path)) == (503, "unavailable")
    wait_until(lambda: stack.api.get("/readyz").status_code == 200, 20, "readiness")
    assert created(stack.api.post(path, headers={"Prefer": "wait=30"}))["leases"][0]["address"] == "10.0.0.2"


def test_outage_of_the_broker_keeps_requests_and_carries_them_out_later(parts: tuple[Stack, Process, Process]):
    stack, _, broker = parts
    subnet = stack.api.subnet(cidr="10.0.0.0/24")
    path = f"/subnets/{subnet['id']}/reservations"
    with broker.away():
        ready = stack.api.get("/readyz")
        assert problem(ready) == (503, "unavailable")
        assert ready.json()["parts"]["broker"] != "ok"
        assert ready.json()["parts"]["database"] == "ok"
        assert stack.api.get("/pools").status_code == 200
        accepted = stack.api.post(path, headers={"Prefer": "respond-async"})
        assert accepted.status_code == 202
    job = stack.api.get(f"{accepted.headers['Location']}?wait=60").json()
    assert job["state"] == "succeeded"


def test_a_worker_lives_through_the_loss_of_its_broker_in_the_middle_of_its_work(
    parts: tuple[Stack, Process, Process],
):
    stack, database, broker = parts
    subnet = stack.api.subnet(cidr="10.0.0.0/24")
    stack.api.reserve(subnet)
    (worker,) = stack.workers
    with Redis(port=broker.part.port) as client, database.paused():
        # What recovers asks the database, and waits; so it is still in hand when its broker goes.
        wait_until(lambda: client.hlen("unacked") > 1, 20, "two messages in hand")
        told = worker.said().count("Connection to broker lost")
        with broker.away():
            wait_until(lambda: worker.said().count("Connection to broker lost") > told, 20, "the worker to notice")
    assert created(stack.api.post(f"/subnets/{subnet['id']}/reservations", headers={"Prefer": "wait=30"}))
    assert worker.is_alive()


def test_events_tail_misses_nothing_while_the_api_is_away(parts: tuple[Stack, Process, Process], tmp_path: Path):
    stack, _, _ = parts
    pool = stack.api.pool()
    path = f"/pools/{pool['id']}"
    expected = [f"ipam.pool.created {path}", *[f"ipam.pool.updated {path} by alice"] * 2]
    with tail(tmp_path, "--url", stack.api.url, "--subject", path, "--after", "0") as printed:
        stack.api.patch(path, {"name": "b"}, headers={"X-Actor": "alice"})
        wait_until(lambda: len(printed()) == 2, 30, "two events")
        stack.web.stop()
        stack.web.start()
        stack.api.patch(path, {"name": "c"}, headers={"X-Actor": "alice"})
        wait_until(lambda: len(printed()) == 3, 30, "three events")
        assert [line.split(" ", 2)[2] for line in printed()] == expected


def test_processes_stop_on_sigterm(parts: tuple[Stack, Process, Process]):
    stack, _, _ = parts
    stack.api.reserve(stack.api.subnet(cidr="10.0.0.0/29"))  # Then they are all up.
    assert [process.stop() for process in stack.processes] == [0, 0, 0, 0]
    stack.start()
