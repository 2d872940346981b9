"""Hooks on real buses, with the consumer that docs/hooks.md shows, as it stands."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from concurrent import futures
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import pytest
from kombu import Connection, Queue

from tests.support import servers
from tests.support.servers import wait_until
from tests.support.stack import Api, Stack, created, problem

PAGE = (Path(__file__).parents[2] / "docs/hooks.md").read_text()
EXAMPLE, DECLARED = (re.findall(rf"```{kind}\n(.*?)```", PAGE, re.DOTALL)[0] for kind in ("python", "toml"))
# Consumers that are away, slow, or fail.
OTHERS = """
[[hook]]
name = "away-allows"
changes = ["pool.update"]
silence = "allow"
timeout_s = 30.0
[[hook]]
name = "away-denies"
changes = ["subnet.update"]
silence = "deny"
timeout_s = 30.0
[[hook]]
name = "slow"
changes = ["subnet.delete"]
silence = "deny"
timeout_s = 0.3
[[hook]]
name = "failing"
changes = ["pool.delete"]
silence = "deny"
timeout_s = 30.0
"""
FUNCTIONS = """
import time
from pathlib import Path

def patient(change):
    while not Path("go-on").exists():
        time.sleep(0.05)

def slow(change):
    time.sleep(2)

def failing(change):
    raise LookupError(change["hook"])
"""


@pytest.fixture(scope="module")
def nats_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    server = servers.nats(tmp_path_factory.mktemp("nats"), keeps=False)
    server.start()
    yield f"nats://127.0.0.1:{server.part.port}"
    server.stop()


@contextmanager
def consumer(folder: Path, bus: str, function: str, name: str) -> Iterator[Path]:
    """`ipam hook serve`, in the folder of its module; what it says is in the file."""
    said = folder / f"{name}.log"
    command = [
        sys.executable,
        "-m",
        "ipam",
        "hook",
        "serve",
        function,
        "--subject",
        f"ipam-hooks.{name}",
        "--bus",
        bus,
    ]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    with said.open("wb") as output:
        process = subprocess.Popen(command, cwd=folder, stdout=output, stderr=output, env=environment)
    try:
        wait_until(lambda: "ipam: answering" in said.read_text() or process.poll() is not None, 30, "a consumer")
        assert process.poll() is None, said.read_text()
        yield said
        process.terminate()
        assert process.wait(30) == 0, said.read_text()
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize("bus", ["nats_url", pytest.param("rabbitmq_url", marks=pytest.mark.long)])
def test_hooks_are_asked_and_what_they_say_is_done(bus, request, database, redis_url, tmp_path):
    """What does not depend on the bus, on NATS only, which starts in no time."""
    url = request.getfixturevalue(bus)
    (tmp_path / "inventory.py").write_text(EXAMPLE)
    (tmp_path / "others.py").write_text(FUNCTIONS)
    declared = tmp_path / "hooks.toml"
    declared.write_text(DECLARED + OTHERS)
    settings = {"IPAM_BUS": url, "IPAM_HOOKS": str(declared), "IPAM_CLAIM_TIMEOUT_S": "15"}
    stack = Stack(database, redis_url, tmp_path, bus=url, **settings)
    stack.start()
    try:
        pool = stack.api.pool(name="p")
        subnet = stack.api.subnet(pool, cidr="10.0.0.0/24")
        _ask(stack.api, tmp_path, url, subnet)
        if bus == "nats_url":
            _rehearse(tmp_path, url, declared)
            _meet_silence(stack, tmp_path, url, pool, subnet)
    finally:
        stack.stop()


def _ask(api: Api, folder: Path, url: str, subnet: dict) -> None:
    path = f"/subnets/{subnet['id']}/reservations"
    with consumer(folder, url, "inventory:check", "inventory"):
        # Refused, with nothing taken; allowed, with what it wrote in what is stored and told.
        refused = api.post(path, {"name": "bare"})
        assert problem(refused) == (422, "rejected")
        assert refused.json()["hook"] == "inventory"
        assert refused.json()["reason"].startswith("a reservation needs metadata.mac")
        assert api.get(f"/subnets/{subnet['id']}").json()["used"] == 0
        made = created(api.post(path, {"name": "r", "metadata": {"mac": "a"}}))
        assert made["metadata"] == {"mac": "a", "serial": 1}
        assert api.get(f"/reservations/{made['id']}").json()["metadata"] == made["metadata"]
        (event,) = api.get(f"/events?subject=/reservations/{made['id']}&wait=20").json()["events"]
        assert (event["type"], event["amendedby"]) == ("ipam.reservation.created", "inventory")
        assert event["data"]["metadata"] == made["metadata"]
    # Its consumer is gone, which is known at once.
    key, other = ({"Idempotency-Key": str(uuid4())} for _ in range(2))
    gone = api.post(path, {"metadata": {"mac": "a"}}, headers=key)
    assert (problem(gone), gone.json()["reason"]) == ((503, "unavailable"), "no consumer is there")
    assert int(gone.headers["Retry-After"]) > 0
    with consumer(folder, url, "inventory:check", "inventory"):
        # Its outage was not the final answer, and what is the final one stays so.
        made = created(api.post(path, {"metadata": {"mac": "a"}}, headers=key))
        assert api.post(path, {"metadata": {"mac": "a"}}, headers=key).json() == made
        refused = [api.post(path, {"name": "x"}, headers=other) for _ in range(2)]
        assert [one.status_code for one in refused] == [422, 422]
        assert refused[0].text == refused[1].text


def test_a_consumer_beside_a_queue_that_was_declared_otherwise_says_so_and_ends(rabbitmq_url, tmp_path):
    (tmp_path / "inventory.py").write_text(EXAMPLE)
    with Connection(rabbitmq_url) as connection:
        queue = Queue(f"other-{uuid4().hex}", durable=True, auto_delete=False)(connection.channel())
        queue.declare()
        command = [sys.executable, "-m", "ipam", "hook", "serve", "inventory:check"]
        command += ["--subject", queue.name, "--bus", rabbitmq_url]
        ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
        queue.delete()
    assert (ended.returncode, f"a queue '{queue.name}' that was declared otherwise" in ended.stderr) == (2, True), (
        ended
    )


def test_changes_that_wait_for_a_hook_leave_threads_to_others(nats_url, database, redis_url, tmp_path):
    """A hook that takes its time is asked about one change at once, as one in eight of the threads may wait."""
    (tmp_path / "others.py").write_text(FUNCTIONS)
    declared = tmp_path / "hooks.toml"
    declared.write_text(
        '[[hook]]\nname = "patient"\nchanges = ["pool.update"]\nsilence = "allow"\ntimeout_s = 60.0\n'
    )
    stack = Stack(database, redis_url, tmp_path, IPAM_BUS=nats_url, IPAM_HOOKS=str(declared), IPAM_THREADS="8")
    stack.web.start()
    path = f"/pools/{stack.api.pool()['id']}"
    try:
        with consumer(tmp_path, nats_url, "others:patient", "patient"), ThreadPoolExecutor(40) as callers:
            answers = [callers.submit(stack.api.patch, path, {"name": str(n)}) for n in range(40)]
            wait_until(lambda: sum(one.done() for one in answers) == 39, 30, "all but one to be answered")
            refused = [one.result() for one in answers if one.done()]
            assert {problem(one) for one in refused} == {(503, "unavailable")}
            assert all(int(one.headers["Retry-After"]) > 0 for one in refused)
            assert "As many changes as may wait for hooks" in refused[0].json()["detail"]
            assert [stack.api.get(other).status_code for other in ("/livez", "/readyz", path)] == [200] * 3
            assert stack.api.get(path).json()["name"] == ""
            (tmp_path / "go-on").touch()
            (made,) = (one for one in futures.as_completed(answers) if one.result().status_code == 200)
            assert stack.api.get(path).json() == made.result().json()
    finally:
        stack.stop()


def _rehearse(folder: Path, url: str, declared: Path) -> None:
    """`ipam hook test`, as the page has it."""
    with consumer(folder, url, "inventory:check", "inventory"):
        for after, code, said in (
            (
                {"metadata": {"mac": "c"}},
                0,
                'by inventory: {"name":"","tags":[],"metadata":{"mac":"c","serial":1}}',
            ),
            ({}, 1, "refused: The hook inventory does not allow it"),
        ):
            (folder / "change.json").write_text(json.dumps({"change": "reservation.create", "after": after}))
            command = [
                sys.executable,
                "-m",
                "ipam",
                "hook",
                "test",
                "change.json",
                "--bus",
                url,
                "--hooks",
                declared,
            ]
            ended = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60, check=False)
            assert (ended.returncode, said in ended.stdout) == (code, True), ended
            assert ended.stdout.startswith('ipam-hooks.inventory: {"allow":')


def _meet_silence(stack: Stack, folder: Path, url: str, pool: dict, subnet: dict) -> None:
    """What is declared for silence happens, and the log of whoever asked says why."""
    api, of_pool, of_subnet = stack.api, f"/pools/{pool['id']}", f"/subnets/{subnet['id']}"
    assert api.patch(of_pool, {"name": "q"}).status_code == 200
    silent = api.patch(of_subnet, {"name": "q"})
    assert (problem(silent), silent.json()["reason"]) == ((503, "unavailable"), "no consumer is there")
    assert api.get(of_subnet).json()["name"] == ""
    with (
        consumer(folder, url, "others:slow", "slow"),
        consumer(folder, url, "others:failing", "failing") as failing,
    ):
        assert api.delete(of_subnet).json()["reason"] == "no answer within 0.3 s"
        assert "its function failed with LookupError" in api.delete(of_pool).json()["reason"]
        assert "LookupError: failing" in failing.read_text()
        assert api.get(of_subnet).json()["used"] == 2
    said = (folder / "web.log").read_text()
    for line in (
        "hook away-allows, asked about pool.update: no consumer is there; it is made all the same (1 times",
        "hook slow, asked about subnet.delete: no answer within 0.3 s; it is refused (1 times",
    ):
        assert line in said
