"""`ipam serve --processes`: several web processes on one port."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from ipam.embedded.processes import free_port
from tests.support.servers import _answers, wait_until
from tests.support.stack import Stack, all_at_once

PROCESSES = 2


@pytest.fixture
def stack(database: str, redis_url: str, tmp_path: Path) -> Iterator[Stack]:
    """Has its web processes, which run, and a worker, which does not."""
    stack = Stack(database, redis_url, tmp_path, IPAM_PROCESSES=str(PROCESSES))
    stack.web.start()
    yield stack
    for child in serving(stack):
        child.kill()
    stack.stop()


def serving(stack: Stack) -> list[psutil.Process]:
    """The processes that answer."""
    if not stack.web.is_alive():
        return []
    return psutil.Process(stack.web.pid).children()


def ended(stack: Stack, children: list[psutil.Process]) -> bool:
    return not any(child.is_running() and child.status() != psutil.STATUS_ZOMBIE for child in children)


def test_web_processes_serve_the_same_and_a_dead_one_is_replaced(stack: Stack):
    first = serving(stack)
    assert len(first) == PROCESSES
    wait_until(lambda: stack.web.said().count("serving on") == PROCESSES, 20, "all to serve")
    pools = {f"pool {n}" for n in range(20)}
    assert {
        answer.status_code
        for answer in all_at_once(8, lambda name: stack.api.post("/pools", {"name": name}), pools)
    } == {201}
    first[0].kill()
    wait_until(lambda: len(serving(stack)) == PROCESSES and serving(stack) != first, 20, "another in its place")
    wait_until(lambda: "another takes its place" in stack.web.said(), 20, "the line that tells of it")
    # What a connection to the dead one was for is sent anew, as with any server that dies.
    wait_until(lambda: _answers(lambda: stack.api.get("/livez", timeout=2)), 20, "an answer")
    assert {pool["name"] for pool in stack.api.pages("/pools", "pools")} == pools


@pytest.mark.skipif(not psutil.LINUX, reason="no other system keeps processes to cores")
def test_web_process_stays_on_its_core_unless_any_core_is_given(stack: Stack):
    usable = psutil.Process().cpu_affinity()
    wait_until(lambda: stack.web.said().count("serving on") == PROCESSES, 20, "all to serve")
    kept = [child.cpu_affinity() for child in serving(stack)]
    assert {len(cores) for cores in kept} == {1}
    assert len({core for cores in kept for core in cores}) == min(PROCESSES, len(usable))
    serving(stack)[0].kill()
    wait_until(lambda: stack.web.said().count("serving on") == PROCESSES + 1, 20, "another in its place")
    assert sorted(child.cpu_affinity() for child in serving(stack)) == sorted(kept)
    stack.web.stop()
    stack.web.part.environment["IPAM_ANY_CORE"] = "true"
    stack.web.start()
    assert [child.cpu_affinity() for child in serving(stack)] == [usable] * PROCESSES


def test_told_to_stop_they_answer_what_they_have_begun(stack: Stack):
    children = serving(stack)
    subnet = stack.api.subnet(cidr="10.0.0.0/24")
    path = f"/subnets/{subnet['id']}/reservations"
    with ThreadPoolExecutor(4) as threads:
        waiting = [threads.submit(stack.api.post, path, headers={"Prefer": "wait=60"}) for _ in range(4)]
        wait_until(lambda: len(stack.api.get("/jobs").json()["jobs"]) == len(waiting), 20, "jobs")
        assert stack.web.stop() == 0
        assert [answer.result().status_code for answer in waiting] == [202] * len(waiting)
    assert ended(stack, children)


def test_web_processes_end_with_their_parent(stack: Stack):
    children = serving(stack)
    psutil.Process(stack.web.pid).send_signal(signal.SIGKILL)
    wait_until(lambda: ended(stack, children), 20, "all to end")


def test_web_process_that_cannot_start_is_not_replaced_for_ever():
    wrong = ["--mongo", "mongodb://[::1", "--port", str(free_port())]
    command = [sys.executable, "-m", "ipam", "serve", "--processes", str(PROCESSES), *wrong]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 2, done.stderr
    assert {line.partition(" ")[0] for line in done.stderr.splitlines()} == {"ipam:"}
