"""Which core a process is kept to."""

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator

import psutil
import pytest

from ipam.util import cpu_affinity
from ipam.util.cpu_affinity import least_used_cpus, pin_to_cpu, pinned_processes
from tests.support.servers import wait_until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="no other system keeps processes to cores")


@pytest.fixture
def child() -> Iterator[int]:
    """A process that waits, and may use all cores that this one may."""
    waits = [sys.executable, "-c", "print('here', flush=True); input()"]
    waiting = subprocess.Popen(waits, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert waiting.stdout.readline()  # Until then it may not be what it is to become.
    yield waiting.pid
    waiting.communicate()


def test_a_process_stays_on_the_core_of_its_place_and_places_go_round(child: int):
    (*_, last) = usable = sorted(os.sched_getaffinity(0))
    pin_to_cpu(usable, len(usable) - 1, child)
    assert os.sched_getaffinity(child) == {last}
    pin_to_cpu(usable, len(usable), child)
    assert os.sched_getaffinity(child) == {usable[0]}


def test_the_quietest_core_comes_first(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2, 3})
    monkeypatch.setattr(cpu_affinity, "pinned_processes", lambda: Counter({0: 2, 1: 1, 3: 3}))
    assert least_used_cpus() == [2, 1, 0, 3]


def test_process_kept_to_a_core_is_counted_there_until_it_ends(child: int):
    core = min(os.sched_getaffinity(0))
    before = pinned_processes()[core]
    pin_to_cpu([core], pid=child)
    alone = len(os.sched_getaffinity(0)) == 1  # Then everybody is kept to it.
    assert pinned_processes()[core] == before + (not alone)
    psutil.Process(child).kill()
    wait_until(lambda: psutil.Process(child).status() == psutil.STATUS_ZOMBIE, 20, "its end")
    assert pinned_processes()[core] == before - alone


def test_a_process_that_cannot_be_kept_goes_on_as_it_is(monkeypatch: pytest.MonkeyPatch):
    usable = os.sched_getaffinity(0)

    def refuse(pid: int, mask: set[int]) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "sched_setaffinity", refuse)
    pin_to_cpu([min(usable)])
    pin_to_cpu([])
    assert os.sched_getaffinity(0) == usable


def test_cpu_affinity_has_no_cores_where_the_system_has_no_affinity(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delattr(os, "sched_getaffinity")
    assert least_used_cpus() == []
