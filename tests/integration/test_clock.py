"""Clocks that are set back while processes are at work, on real processes."""

import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.servers import replace, wait_until
from tests.support.stack import Stack

_SOURCE = Path(__file__).parents[1] / "offset_clock.c"


@pytest.fixture
def stack_and_clock(database: str, redis_url: str, tmp_path: Path) -> Iterator[tuple[Stack, Callable[[int], None]]]:
    """Processes whose clocks are an hour ahead, and what sets how many seconds these are ahead."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("there is no C compiler, which makes the clock")
    library, offset = tmp_path / "offset_clock.so", tmp_path / "offset"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, _SOURCE], check=True)

    def set_clocks(ahead_s: int) -> None:
        replace(offset, str(ahead_s))

    set_clocks(3600)
    stack = Stack(database, redis_url, tmp_path, LD_PRELOAD=str(library), IPAM_TEST_CLOCK=str(offset))
    stack.start()
    yield stack, set_clocks
    stack.stop()


@pytest.mark.long
@pytest.mark.timeout(180)
def test_work_begun_before_the_clock_was_set_back_is_finished_at_once(stack_and_clock):
    stack, set_clocks = stack_and_clock
    api, worker, relay = stack.api, stack.workers[0], stack.relay
    subnet = api.subnet(cidr="10.0.0.0/15")
    before = api.reserve(subnet)
    path = api.post(
        f"/subnets/{subnet['id']}/reservations", {"count": 60_000}, headers={"Prefer": "respond-async"}
    ).headers["Location"]
    wait_until(lambda: api.get(path).json()["state"] == "running", 30, "a worker to be at it")
    worker.kill()
    relay.kill()
    job = api.get(path).json()
    assert job["state"] == "running"
    assert job["started_at"] > before["created_at"]
    set_clocks(0)
    worker.start()
    relay.start()
    wait_until(lambda: api.get(path).json()["state"] == "succeeded", 90, "recovery to have it finished")
    after = api.reserve(subnet)
    assert after["created_at"] < before["created_at"]
    assert api.delete(f"/reservations/{before['id']}").status_code == 204
    subjects, created = {f"/reservations/{one['id']}" for one in (before, after)}, "type=ipam.reservation.created"
    wait_until(
        lambda: subjects <= {event["subject"] for event in api.pages(f"/events?{created}", "events")},
        30,
        "a relay to tell of both",
    )
    assert api.get("/status").json()["status"] == "ok"
