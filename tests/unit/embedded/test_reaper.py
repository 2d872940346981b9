"""Process groups are ended while they are those that were started, and no others."""

import signal
import subprocess
import sys
from dataclasses import replace

import pytest

from ipam.embedded.reaper import STOPPED, Group, reap

WAITS = [sys.executable, "-c", "import sys; print('there', flush=True); sys.stdin.read()"]
FORKS = [
    sys.executable,
    "-c",
    "import os, time\nif os.fork():\n    print('there', flush=True)\nelse:\n    time.sleep(60)",
]


@pytest.fixture
def start():
    """Starts a program in a group of its own, and returns it when it is there."""
    started = []

    def of(command, **pipes):
        pipes = {"stdin": subprocess.PIPE, **pipes}
        process = subprocess.Popen(command, start_new_session=True, stdout=subprocess.PIPE, text=True, **pipes)
        started.append(process)
        return process

    yield of
    for process in started:
        process.kill()
        process.communicate()


def test_a_group_is_signalled_while_it_is_the_one_that_was_started(start):
    child = start(WAITS)
    child.stdout.readline()
    group = Group.of(child.pid)
    other = replace(group, started="1")  # As if the id had been given to another process since.
    assert other.signal(signal.SIGKILL) is False
    assert child.poll() is None
    assert group.signal(signal.SIGKILL) is True
    assert child.wait(20) == -signal.SIGKILL
    assert group.signal(0) is False


def test_reaper_ends_a_group_whose_leader_has_ended(start):
    leader = start(FORKS)
    group = Group.of(leader.pid)
    leader.stdout.readline()
    leader.wait(20)
    assert group.signal(0) is True
    reap([group])
    assert leader.stdout.read() == ""  # Which ends when nobody holds it any more.


@pytest.mark.parametrize(("last", "is_ended"), [("", True), (f"{STOPPED}\n", False)])
def test_reaper_signals_nobody_after_an_orderly_stop(start, last, is_ended):
    child = start(WAITS)
    child.stdout.readline()
    group = Group.of(child.pid)
    with subprocess.Popen(
        [sys.executable, "-m", "ipam.embedded.reaper"], stdin=subprocess.PIPE, text=True
    ) as reaper:
        reaper.stdin.write(f"0 {group.leader} {group.started}\n{last}")
        reaper.stdin.close()
        if is_ended:  # The reaper sees it until its parent, this test, has looked.
            assert child.wait(20) == -signal.SIGTERM
        assert reaper.wait(20) == 0
    assert (child.poll() is not None) == is_ended
