"""A database that lives and can do nothing is started again, when it has room."""

from types import SimpleNamespace

import pytest

from ipam.embedded import watchdog
from ipam.embedded.up import open_log
from ipam.embedded.watchdog import Watchdog
from ipam.errors import DatabaseFault, Transient


@pytest.fixture
def looked_after(tmp_path, monkeypatch):
    """What becomes of it: `works`, `answers` and `free` may be set."""
    case = SimpleNamespace(works=True, answers=True, free=10**9, restarts=0, said=[])

    def write():
        if not case.answers:
            raise Transient("away, or too slow")
        if not case.works:
            raise DatabaseFault("WT_PANIC")

    def restart():
        case.restarts += 1

    monkeypatch.setattr(watchdog.shutil, "disk_usage", lambda _: SimpleNamespace(free=case.free))
    stores = SimpleNamespace(positions=SimpleNamespace(write=write))
    case.look = Watchdog(stores, tmp_path, restart, case.said.append).look
    return case


def test_watchdog_leaves_a_database_alone_that_works_or_is_away(looked_after):
    for looked_after.answers in (True, False):
        for _ in range(5):
            looked_after.look()
    looked_after.works = False
    for _ in range(5):
        looked_after.look()  # Its end is seen by the supervisor.
    assert (looked_after.restarts, looked_after.said) == (0, [])


def test_watchdog_restarts_a_database_that_fails_three_times_in_a_row(looked_after):
    for looked_after.works in (False, False, True, False, False):
        looked_after.look()
    assert looked_after.restarts == 0
    looked_after.look()
    assert looked_after.restarts == 1
    for _ in range(3):
        looked_after.look()
    assert looked_after.restarts == 2


def test_watchdog_waits_for_room_and_says_so_once(looked_after):
    looked_after.works, looked_after.free = False, 10**6
    for _ in range(9):
        looked_after.look()
    assert looked_after.restarts == 0
    assert len(looked_after.said) == 1
    assert "is full" in looked_after.said[0]
    looked_after.free = 10**9
    looked_after.look()
    assert looked_after.restarts == 1
    looked_after.works = True
    looked_after.look()
    assert looked_after.said[-1] == "the database works again"


def test_a_log_that_cannot_be_written_is_told_once_and_counts_what_is_lost(tmp_path, capsys, monkeypatch):
    log = open_log(tmp_path)
    log.write("web", "before")
    with monkeypatch.context() as full:

        def fail(_record):
            raise OSError(28, "No space left on device")

        full.setattr(log, "format", fail)
        for _ in range(1000):
            log.write("web", "lost")
    log.write("web", "after")
    log.close()
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1
    assert "No space left on device" in said[0]
    assert (tmp_path / "ipam.log").read_text().splitlines() == [
        "web      | before",
        "ipam     | 1000 lines could not be written",
        "web      | after",
    ]
