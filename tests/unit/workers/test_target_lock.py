"""Turns of the processes of workers: real processes, for that is what locks are about."""

import multiprocessing
import os
import tempfile
from collections.abc import Callable, Iterator
from multiprocessing.synchronize import Event
from pathlib import Path

import pytest
from bson import ObjectId

from ipam.allocation.job_runner import NextRun
from ipam.workers.target_lock import TargetLock, open_lock_file

# Newer Pythons warn of it, and a worker's processes are made by it.
pytestmark = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
FORK = multiprocessing.get_context("fork")
ONE, OTHER = ObjectId(), ObjectId()
FOR_EVER_S = 3600.0


class Holder:
    """A process that has a turn until it is let go."""

    def __init__(
        self, turns: TargetLock | Callable[[], TargetLock], target: ObjectId, rest: float | None = None
    ) -> None:
        self._rest = rest
        self.calls = FORK.Value("i", 0)
        self._begun, self._go_on = FORK.Event(), FORK.Event()
        self.process = FORK.Process(target=self._take, args=(turns, target), daemon=True)
        self.process.start()
        assert self._begun.wait(20)

    def _take(self, turns: TargetLock | Callable[[], TargetLock], target: ObjectId) -> None:
        """With turns that its parent has made, or made by itself."""
        (turns if isinstance(turns, TargetLock) else turns()).take(target, self._work)

    def _work(self) -> float | None:
        self.calls.value += 1
        self._begun.set()
        assert self._go_on.wait(20)
        return self._rest

    def let_go(self) -> None:
        self._go_on.set()
        self.process.join(20)
        assert self.process.exitcode == 0


@pytest.fixture
def turns() -> Iterator[TargetLock]:
    made = TargetLock(FOR_EVER_S, 1, tempfile.TemporaryFile())  # noqa: SIM115 (closed below)
    yield made
    made._file.close()  # noqa: SLF001


def calls_of(turns: TargetLock, target: ObjectId) -> int:
    """How often work is called in this process."""
    calls: list[None] = []

    def work() -> float | None:
        calls.append(None)
        return 0.5

    assert turns.take(target, work) == (0.5 if calls else None)
    return len(calls)


def test_alone_he_does_his_work_once(turns):
    assert [calls_of(turns, ONE), calls_of(turns, ONE)] == [1, 1]


def test_target_lock_sends_a_second_process_away_and_the_first_looks_once_more(turns):
    holder = Holder(turns, ONE)
    assert [calls_of(turns, ONE), calls_of(turns, ONE)] == [0, 0]
    holder.let_go()
    assert holder.calls.value == 2
    assert calls_of(turns, ONE) == 1


def test_a_turn_after_which_something_is_left_ends_though_another_was_there(turns):
    """Who has it comes again for what is left, and so for what the other one would have done."""
    holder = Holder(turns, ONE, rest=0.0)
    assert calls_of(turns, ONE) == 0
    holder.let_go()
    assert holder.calls.value == 1


class Large(Holder):
    """A process that is at a large job until it is let go."""

    def _take(self, turns: TargetLock | Callable[[], TargetLock], _target: ObjectId) -> None:
        assert isinstance(turns, TargetLock)
        turns.take_large(lambda: NextRun.NONE if self._work() is None else NextRun.LATER)


def test_large_jobs_are_done_by_some_of_the_processes(turns):
    turns._large = 2  # noqa: SLF001
    first, second = (Large(turns, ONE) for _ in range(2))
    assert turns.take_large(lambda: NextRun.NONE) is NextRun.MUCH_LATER
    first.let_go()
    assert turns.take_large(lambda: NextRun.NONE) is NextRun.NONE
    third = Large(turns, ONE)
    assert turns.take_large(lambda: NextRun.NONE) is NextRun.MUCH_LATER
    second.process.kill()
    second.process.join(20)
    assert turns.take_large(lambda: NextRun.NONE) is NextRun.NONE
    third.let_go()


def test_other_targets_are_nobodys_concern(turns):
    holder = Holder(turns, ONE)
    assert calls_of(turns, OTHER) == 1
    holder.let_go()
    assert holder.calls.value == 1


def test_target_lock_is_not_relied_on_for_longer_than_a_claim(turns):
    holder = Holder(turns, ONE)
    turns._patience_s = 0.0  # noqa: SLF001
    assert calls_of(turns, ONE) == 1
    holder.let_go()


def test_the_turn_of_one_who_was_killed_is_over(turns):
    holder = Holder(turns, ONE)
    holder.process.kill()
    holder.process.join(20)
    assert calls_of(turns, ONE) == 1


def test_the_turn_of_one_who_failed_is_over(turns):
    def fail() -> float | None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        turns.take(ONE, fail)
    holder = Holder(turns, ONE)
    holder.let_go()


def test_workers_of_one_machine_give_turns_to_each_other(tmp_path: Path):
    holder = Holder(lambda: TargetLock(FOR_EVER_S, 1, open_lock_file(tmp_path)), ONE)
    with open_lock_file(tmp_path) as file:
        turns = TargetLock(FOR_EVER_S, 1, file)
        assert (calls_of(turns, ONE), calls_of(turns, OTHER)) == (0, 1)
        holder.let_go()
        assert holder.calls.value == 2
        assert calls_of(turns, ONE) == 1
    (path,) = tmp_path.iterdir()
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("put", [lambda path: path.symlink_to(path.parent / "own"), os.mkfifo, Path.mkdir])
def test_target_lock_file_planted_by_another_user_is_not_used(tmp_path: Path, put: Callable[[Path], None]):
    own = tmp_path / "own"
    own.write_bytes(b"untouched")
    put(tmp_path / f"ipam-turns-{os.geteuid()}")
    with open_lock_file(tmp_path) as file:
        assert calls_of(TargetLock(FOR_EVER_S, 1, file), ONE) == 1
    assert own.read_bytes() == b"untouched"


def test_target_lock_loses_no_work_among_many_processes(turns):
    """Each adds a piece of work and takes its turn, over and over; whoever has the turn does all that is there."""
    todo, done = FORK.Value("i", 0), FORK.Value("i", 0)
    begin: Event = FORK.Event()

    def work() -> float | None:
        done.value = todo.value
        return None

    def add_and_take() -> None:
        begin.wait(20)
        for _ in range(300):
            with todo.get_lock():
                todo.value += 1
            turns.take(ONE, work)

    processes = [FORK.Process(target=add_and_take, daemon=True) for _ in range(4)]
    for process in processes:
        process.start()
    begin.set()
    for process in processes:
        process.join(60)
    assert (done.value, todo.value) == (1200, 1200)
