"""Calls that several threads make at the same moment, made as one."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from ipam.errors import Transient

W = TypeVar("W")
G = TypeVar("G")


@dataclass(eq=False, slots=True)
class _Asked(Generic[W, G]):
    wanted: W
    got: Future[G] = field(default_factory=Future)


class Together(Generic[W, G]):
    """Gives each of its callers what he wants; those who come while a call is under way share the next one.

    Who is alone is served at once. Nobody is served by a call that began before he came: that might not see what he
    has written.

    Args:
        call: Gets what is wanted, in the same order. If the database was out of reach, that is raised for all who
            share the call; after any other exception each of them is served alone.
        most: So much is wanted of one call, at most.
    """

    def __init__(self, call: Callable[[Sequence[W]], Sequence[G]], most: int) -> None:
        self._call = call
        self._most = most
        self._changed = threading.Condition()
        self._waiting: dict[Hashable, list[_Asked[W, G]]] = {}
        self._under_way: set[Hashable] = set()

    def __call__(self, wanted: W, about: Hashable = None) -> G:
        """What is got for *wanted*; a call is shared by those who ask *about* the same.

        Raises:
            Exception: Whatever the call for it alone raises.
        """
        mine: _Asked[W, G] = _Asked(wanted)
        with self._changed:
            self._waiting.setdefault(about, []).append(mine)
        while self._is_to_call(mine, about):
            self._call_for_some(about)
        return mine.got.result()

    def _is_to_call(self, mine: _Asked[W, G], about: Hashable) -> bool:
        """Wait until *mine* is served, or whoever asked for it has to see to that."""
        with self._changed:
            self._changed.wait_for(lambda: mine.got.done() or about not in self._under_way)
            if mine.got.done():
                return False
            self._under_way.add(about)
            return True

    def _call_for_some(self, about: Hashable) -> None:
        with self._changed:
            waiting = self._waiting.pop(about)
            some, rest = waiting[: self._most], waiting[self._most :]
            if rest:
                self._waiting[about] = rest
        try:
            self._serve(some)
        finally:
            with self._changed:
                self._under_way.discard(about)
                self._changed.notify_all()

    def _serve(self, some: Sequence[_Asked[W, G]]) -> None:
        try:
            for one, got in zip(some, self._call([one.wanted for one in some]), strict=True):
                one.got.set_result(got)
        except BaseException as error:  # noqa: BLE001 (whoever asked gets it)
            if len(some) > 1 and isinstance(error, Exception) and not isinstance(error, Transient):
                for one in some:
                    self._serve([one])
                return
            for one in some:
                one.got.set_exception(error)
