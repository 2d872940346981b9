"""Calls that several threads make at the same moment, made as one."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar, cast

from ipam.errors import passes

W = TypeVar("W")
G = TypeVar("G")


def _locked() -> threading.Lock:
    lock = threading.Lock()
    lock.acquire()
    return lock


@dataclass(eq=False, slots=True)
class _Asked(Generic[W, G]):
    """What a thread asks for, and what it is woken with: what it got, or for whom it is to make the next call."""

    wanted: W
    got: G | None = None
    error: BaseException | None = None
    call_for: Sequence[_Asked[W, G]] = ()
    asleep: threading.Lock = field(default_factory=_locked)

    def result(self) -> G:
        if self.error is not None:
            raise self.error
        return cast("G", self.got)


class Together(Generic[W, G]):
    """Gives each of its callers what he wants; those who come while a call is under way share the next one.

    Who is alone is served at once. Nobody is served by a call that began before he came: that might not see what he
    has written. The first of those who wait makes their call, and nobody else is woken before he has what he wants.

    Args:
        call: Gets what is wanted, in the same order. If the database was out of reach, that is raised for all who
            share the call; after any other exception each of them is served alone.
        most: So much is wanted of one call, at most.
    """

    def __init__(self, call: Callable[[Sequence[W]], Sequence[G]], most: int) -> None:
        self._call = call
        self._most = most
        self._changing = threading.Lock()
        # What a call is under way about, and who waits for the next one.
        self._waiting: dict[Hashable, list[_Asked[W, G]]] = {}

    def __call__(self, wanted: W, about: Hashable = None) -> G:
        """What is got for *wanted*; a call is shared by those who ask *about* the same.

        Raises:
            Exception: Whatever the call for it alone raises.
        """
        mine: _Asked[W, G] = _Asked(wanted)
        with self._changing:
            if about in self._waiting:
                self._waiting[about].append(mine)
            else:
                self._waiting[about] = []
                mine.call_for = [mine]
                mine.asleep.release()
        mine.asleep.acquire()
        if mine.call_for:
            self._serve(mine.call_for)
            self._hand_over(about)
            for one in mine.call_for:
                one.asleep.release()
        return mine.result()

    def _hand_over(self, about: Hashable) -> None:
        """Have the first of those who wait make the next call, before those are woken who have been served."""
        with self._changing:
            waiting = self._waiting[about]
            some, self._waiting[about] = waiting[: self._most], waiting[self._most :]
            if not some:
                del self._waiting[about]
        if some:
            some[0].call_for = some
            some[0].asleep.release()

    def _serve(self, some: Sequence[_Asked[W, G]]) -> None:
        try:
            for one, got in zip(some, self._call([one.wanted for one in some]), strict=True):
                one.got = got
        except BaseException as error:  # noqa: BLE001 (whoever asked gets it)
            if len(some) > 1 and isinstance(error, Exception) and not passes(error):
                for one in some:
                    self._serve([one])
                return
            for one in some:
                one.error = error
