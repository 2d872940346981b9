"""Calls that are made as one; without a server, for logic only."""

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from ipam.errors import Transient
from ipam.util.coalescing import Coalescer
from tests.support.servers import wait_until
from tests.support.stack import all_at_once

MAX_BATCH = 3


class Slow:
    """A call that goes on when it is let; it doubles what it is given, and takes no strings."""

    def __init__(self) -> None:
        self.calls: list[list] = []
        self.goes_on = threading.Semaphore(0)
        self.is_away = False

    def __call__(self, wanted: Sequence) -> list:
        self.calls.append(list(wanted))
        self.goes_on.acquire()
        if self.is_away:
            raise Transient("The database did not answer.")
        if any(isinstance(one, str) for one in wanted):
            raise TypeError("a string")
        return [2 * one for one in wanted]


@pytest.fixture
def slow() -> Slow:
    return Slow()


def asked(slow: Slow, wanted: Sequence) -> list:
    """What each of these gets, the first one having been alone when it came."""
    coalescer: Coalescer = Coalescer(slow, MAX_BATCH)

    def ask(one) -> object:
        if one != wanted[0]:
            wait_until(lambda: slow.calls, 20, "the first call")
        try:
            return coalescer(one)
        except (Transient, TypeError) as error:
            return type(error)

    def go_on() -> None:
        wait_until(lambda: len(coalescer._waiting.get(None, ())) == len(wanted) - 1, 20, "the others")  # noqa: SLF001
        for _ in range(2 * len(wanted)):
            slow.goes_on.release()

    threading.Thread(target=go_on).start()
    return all_at_once(len(wanted), ask, wanted)


def test_coalescer_serves_a_single_caller_at_once_and_others_together(slow):
    assert asked(slow, range(6)) == [0, 2, 4, 6, 8, 10]
    assert [len(call) for call in slow.calls] == [1, 3, 2]
    assert sorted(one for call in slow.calls for one in call) == list(range(6))


def test_coalescer_fails_only_the_item_that_is_wrong(slow):
    assert asked(slow, [1, "wrong", 2]) == [2, TypeError, 4]
    assert [len(call) for call in slow.calls] == [1, 2, 1, 1]


def test_a_database_that_is_away_is_so_for_all_of_them(slow):
    slow.is_away = True
    assert asked(slow, range(3)) == [Transient] * 3
    assert [len(call) for call in slow.calls] == [1, 2]


def test_coalescer_keeps_other_keys_waiting_for_nobody(slow):
    coalescer: Coalescer = Coalescer(slow, MAX_BATCH)
    with ThreadPoolExecutor(3) as threads:
        first = threads.submit(coalescer, 1, "this")
        wait_until(lambda: slow.calls == [[1]], 20, "the first call")
        second = threads.submit(coalescer, 2, "this")
        other = threads.submit(coalescer, 3, "that")
        wait_until(lambda: slow.calls == [[1], [3]], 20, "the other call")
        slow.goes_on.release(3)
        assert [one.result(20) for one in (first, second, other)] == [2, 4, 6]
    assert slow.calls == [[1], [3], [2]]
    assert coalescer._waiting == {}  # noqa: SLF001


def test_an_exception_ends_nothing_but_its_own_call(slow):
    coalescer: Coalescer = Coalescer(slow, MAX_BATCH)
    slow.goes_on.release(2)
    with pytest.raises(TypeError):
        coalescer("wrong")
    assert coalescer(1) == 2
