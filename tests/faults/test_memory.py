"""What a few large requests take of the memory of each process: never more than a small container has."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.support.servers import wait_until
from tests.support.stack import Stack, all_at_once

_GROUPS = Path("/sys/fs/cgroup/memory")
_MOST_BYTES = 512 * 1024 * 1024
# As many jobs for 65,000 addresses as are accepted for one subnet, and jobs with 64 KiB of metadata, which take 24
# times as many bytes in Python's memory.
LARGE, NESTED = 8, 400


@pytest.fixture
def confine() -> Iterator[Callable[[str, int], Path]]:
    """Moves a process, and what it forks from then on, into a control group of 512 MiB; returns its folder."""
    if not os.access(_GROUPS / "cgroup.procs", os.W_OK):
        pytest.skip("only root can bound the memory of processes, and by control groups of version 1")
    with ExitStack() as groups:
        yield lambda name, pid: groups.enter_context(_group(name, pid))


@contextmanager
def _group(name: str, pid: int) -> Iterator[Path]:
    group = _GROUPS / f"ipam-test-{os.getpid()}-{name}"
    group.mkdir()
    (group / "memory.limit_in_bytes").write_text(str(_MOST_BYTES))
    (group / "cgroup.procs").write_text(str(pid))
    yield group
    for left in (group / "cgroup.procs").read_text().split():
        (_GROUPS / "cgroup.procs").write_text(left)
    group.rmdir()


def killed_in(group: Path) -> int:
    """How many processes the system has ended in *group* for lack of memory."""
    told = dict(line.split() for line in (group / "memory.oom_control").read_text().splitlines())
    return int(told["oom_kill"])


@pytest.mark.long
@pytest.mark.timeout(600)
def test_large_requests_end_no_process_of_512_mib(confine, database, redis_url, tmp_path):
    """Of those for the same addresses one is granted; the errors of the others name all of these."""
    stack = Stack(database, redis_url, tmp_path)
    stack.web.start()
    groups = [confine("web", stack.web.pid)]
    subnet = stack.api.subnet(cidr="10.0.0.0/8")
    path = f"/subnets/{subnet['id']}/reservations"
    large = {"addresses": [f"10.1.{n // 256}.{n % 256}" for n in range(65_000)]}
    nested = {"metadata": [[]] * 21_000}

    def ask(wanted: dict[str, object]) -> int:
        return stack.api.post(path, wanted, headers={"Prefer": "respond-async"}).status_code

    def look(kind: str) -> int:
        """Return how many there are; the embedded database reads all of each, and may be too slow."""
        count, following = 0, f"/{kind}"
        while following:
            while (listed := stack.api.get(following)).status_code == 503:
                time.sleep(float(listed.headers["Retry-After"]))
            count += len(listed.json()[kind])
            following = listed.json().get("next")
        return count

    try:
        assert all_at_once(1, ask, [large] * (LARGE + 1)) == [202] * LARGE + [503]
        assert set(all_at_once(8, ask, [nested] * NESTED)) == {202}
        assert all_at_once(8, look, ["jobs"] * 8) == [LARGE + NESTED] * 8
        for process in (stack.workers[0], stack.beat, stack.relay):
            process.start()
            groups.append(confine(process.part.name, process.pid))
        wait_until(lambda: not stack.api.get("/jobs?state=queued&limit=1").json()["jobs"], 400, "jobs to be begun")
        stack.wait_for_jobs(400)
        assert all_at_once(8, look, ["jobs"] * 8) == [LARGE + NESTED] * 8
        assert all_at_once(8, look, ["reservations"] * 8) == [1 + NESTED] * 8
        failed = stack.api.get("/jobs?state=failed&limit=1").json()["jobs"][0]
        assert (failed["request"], failed["error"]["omitted"]) == ({"count": 65_000, "omitted": True}, True)
        assert len(stack.api.get(f"/jobs/{failed['id']}").json()["error"]["addresses"]) == 65_000
        for group in groups:
            peak = int((group / "memory.max_usage_in_bytes").read_text())
            print(f"{group.name}: {peak / 1024 / 1024:.0f} MiB at most")
            assert killed_in(group) == 0
    finally:
        stack.stop()
