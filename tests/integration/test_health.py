"""Health is honest: what does not work is not called ready, and what only waits is not started again."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis

from ipam.cli.health import fault_of
from ipam.discovery.endpoints import StaticEndpoint
from ipam.embedded.processes import ProcessSpec, _bundled_redis, free_port
from ipam.errors import Transient
from ipam.settings import Settings
from ipam.workers.celery_app import create_celery
from ipam.workers.celery_dispatcher import CeleryDispatcher
from tests.support import servers
from tests.support.servers import RABBITMQ, Process, wait_until
from tests.support.stack import Stack, created, problem

_TAKES_NO_MESSAGE = "the broker takes no message of recover at redis://"


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    """A Redis that may be told anything; that of `ipam up` may not."""
    folder, port = tmp_path_factory.mktemp("redis"), free_port()
    program = shutil.which("redis-server") or _bundled_redis()
    command = [program, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)]
    process = Process(ProcessSpec("redis", command, port), folder / "redis.log")
    process.start()
    with Redis(port=port) as client:
        wait_until(lambda: _answers(client), 20, "Redis")
    yield process
    process.stop()


def _answers(client: Redis) -> bool:
    try:
        return bool(client.ping())
    except OSError:
        return False
    except Exception as error:  # noqa: BLE001 (of redis, which are no OSErrors)
        return "loading" in str(error)


@pytest.fixture(scope="module")
def lone(database: str, broker: Process, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """All of ipam on that Redis."""
    stack = Stack(database, f"redis://127.0.0.1:{broker.part.port}/0", tmp_path_factory.mktemp("lone"))
    stack.start()
    yield stack
    stack.stop()


@pytest.mark.parametrize("way", ["read-only", "full"])
def test_a_broker_that_takes_no_message_is_not_ready_and_ends_no_worker(lone: Stack, broker: Process, way: str):
    (worker,) = lone.workers
    subnet = lone.api.subnet(cidr="10.0.0.0/24")
    lone.api.reserve(subnet)
    pid, path = worker.pid, f"/subnets/{subnet['id']}/reservations"
    told = lone.beat.said().count(_TAKES_NO_MESSAGE)
    with Redis(port=broker.part.port) as client:
        try:
            if way == "read-only":
                client.replicaof("127.0.0.1", 1)
            else:
                client.config_set("maxmemory", 1)
            wait_until(lambda: lone.api.get("/readyz").status_code == 503, 20, "readiness to end")
            ready = lone.api.get("/readyz")
            assert problem(ready) == (503, "unavailable")
            assert ready.json()["parts"]["database"] == "ok"
            assert "takes no message" in ready.json()["parts"]["broker"]
            accepted = lone.api.post(path, headers={"Prefer": "respond-async"})
            assert accepted.status_code == 202
            # Then beat, and so the worker too, has met answers that are errors.
            wait_until(lambda: lone.beat.said().count(_TAKES_NO_MESSAGE) > told, 20, "beat to notice")
        finally:
            client.replicaof("NO", "ONE")
            client.config_set("maxmemory", 0)
    job = lone.api.get(f"{accepted.headers['Location']}?wait=60").json()
    assert job["state"] == "succeeded"
    assert (worker.pid, worker.is_alive()) == (pid, True)
    wait_until(lambda: lone.api.get("/readyz").status_code == 200, 20, "readiness")


@pytest.mark.long
def test_a_rabbitmq_that_an_alarm_holds_up_takes_no_message(tmp_path: Path):
    broker = servers.rabbitmq(tmp_path)
    broker.start()
    settings = Settings(database="here")
    dispatcher = CeleryDispatcher(create_celery(settings, StaticEndpoint(broker.url, "")))

    def allow_memory(share: str) -> None:
        control = [RABBITMQ.with_name("rabbitmqctl"), "-n", broker.part.environment["RABBITMQ_NODENAME"]]
        environment = {**os.environ, **broker.part.environment}
        command = [*control, "set_vm_memory_high_watermark", *share.split()]
        subprocess.run(command, env=environment, check=True, capture_output=True, timeout=60)

    def takes_messages() -> bool:
        try:
            dispatcher.check()
        except Transient as error:
            return "takes no message" not in error.detail
        return True

    try:
        assert takes_messages()
        allow_memory("absolute 1")
        wait_until(lambda: not takes_messages(), 30, "the alarm")
        allow_memory("0.6")
        wait_until(takes_messages, 30, "the end of the alarm")
    finally:
        broker.stop()


def status(stack: Stack) -> dict:
    answer = stack.api.get("/status")
    assert answer.status_code == 200
    return answer.json()


def test_the_status_tells_of_every_part(lone: Stack):
    lone.api.reserve(lone.api.subnet(cidr="10.0.0.0/24"))
    wait_until(lambda: status(lone)["status"] == "ok", 30, "everything to be at work")
    parts = status(lone)["parts"]
    assert {name: part["status"] for name, part in parts.items()} == dict.fromkeys(
        ("database", "broker", "workers", "recovery", "relay", "bus", "queue"), "ok"
    )
    assert len(parts["workers"]["names"]) == 1
    assert status(lone)["hooks"] == []
    (worker,) = lone.workers
    with worker.away():
        wait_until(lambda: status(lone)["status"] == "degraded", 30, "the worker to be missed")
        missing = status(lone)["parts"]["workers"]
        assert (missing["status"], "ipam worker" in missing["detail"]) == ("missing", True)
        assert lone.api.get("/readyz").status_code == 200  # Another web process would not help.
    wait_until(lambda: status(lone)["status"] == "ok", 30, "the worker to be back")


def fault(stack: Stack, process: str, **settings: object) -> str | None:
    """What `ipam health` finds, with the settings of the *stack* but for these."""
    return fault_of(process, Settings.read(settings, stack.environment))


def test_health_is_asked_of_each_process(lone: Stack):
    created(lone.api.post("/pools", {"name": "p"}))  # Then all of them are up.
    for process in ("worker", "beat", "relay"):
        wait_until(lambda process=process: fault(lone, process) is None, 60, f"{process} to be at work")
    assert fault(lone, "web", port=int(lone.api.url.rpartition(":")[2])) is None
    assert "does not answer" in fault(lone, "web", port=free_port())
    assert "was ever at work" in fault(lone, "relay", database="nowhere")
    (worker,) = lone.workers
    command = [sys.executable, "-m", "ipam", "health", "worker"]
    with worker.away():
        ended = subprocess.run(
            command, env={**os.environ, **lone.environment}, capture_output=True, text=True, timeout=60, check=False
        )
    assert (ended.returncode, "does not answer over the broker" in ended.stdout) == (1, True), ended


def test_a_broker_that_is_away_is_no_reason_to_start_a_worker_again(lone: Stack, caplog):
    assert fault(lone, "worker", broker=f"redis://127.0.0.1:{free_port()}/0") is None
    assert "would not help" in caplog.text


def test_ipam_status_prints_what_status_says_and_exits_with_2_without_an_api(lone: Stack):
    def ran(url: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "ipam", "status", "--url", url]
        return subprocess.run(command, capture_output=True, text=True, timeout=90, check=False)

    pool = lone.api.pool(name="of status")
    shown = ran(lone.api.url)
    assert shown.returncode in (0, 1), shown.stderr
    assert [line.split()[0] for line in shown.stdout.splitlines()[1:]][:7] == [
        *lone.api.get("/status").json()["parts"]
    ]
    assert pool["id"] in shown.stdout or shown.stdout.count(" pool ") == 10
    away = ran(f"http://127.0.0.1:{free_port()}")
    assert (away.returncode, "does not answer" in away.stderr, "Traceback" in away.stderr) == (2, True, False)
