"""Request coalescing: calls that several threads make at the same moment are made as one."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar, cast

from ipam.errors import passes

I = TypeVar("I")  # noqa: E741 (an item)
R = TypeVar("R")


def _locked() -> threading.Lock:
    lock = threading.Lock()
    lock.acquire()
    return lock


@dataclass(eq=False, slots=True)
class _Call(Generic[I, R]):
    """The call of one thread: its item, and what the thread is woken with.

    That is its result or error, or a batch that this thread is to run for itself and others.
    """

    item: I
    value: R | None = None
    error: BaseException | None = None
    batch: Sequence[_Call[I, R]] = ()
    asleep: threading.Lock = field(default_factory=_locked)

    def result(self) -> R:
        if self.error is not None:
            raise self.error
        return cast("R", self.value)


class Coalescer(Generic[I, R]):
    """Gives each calling thread the result for its item; calls that arrive during a batch share the next one.

    A call that finds no batch under way runs at once. No call is served by a batch that began before it arrived,
    for that might not see what its caller has written. The first waiting thread runs the next batch, and no other
    thread is woken before it has its result.

    Args:
        run: Returns the results for a batch of items, in the same order. If it raises an error that passes (the
            database is out of reach), all calls of the batch raise that; after any other exception each item is run
            alone.
        max_batch: How many items a batch has at most.
    """

    def __init__(self, run: Callable[[Sequence[I]], Sequence[R]], max_batch: int) -> None:
        self._run = run
        self._max_batch = max_batch
        self._changing = threading.Lock()
        # The keys of which a batch is under way, and the calls that wait for the next one.
        self._waiting: dict[Hashable, list[_Call[I, R]]] = {}

    def __call__(self, item: I, key: Hashable = None) -> R:
        """Return the result for *item*; only calls with the same *key* share a batch.

        Raises:
            Exception: Whatever a batch of this item alone raises.
        """
        mine: _Call[I, R] = _Call(item)
        with self._changing:
            if key in self._waiting:
                self._waiting[key].append(mine)
            else:
                self._waiting[key] = []
                mine.batch = [mine]
                mine.asleep.release()
        mine.asleep.acquire()
        if mine.batch:
            self._serve(mine.batch)
            self._hand_over(key)
            for call in mine.batch:
                call.asleep.release()
        return mine.result()

    def _hand_over(self, key: Hashable) -> None:
        """Have the first waiting thread run the next batch, before the threads of the last one are woken."""
        with self._changing:
            waiting = self._waiting[key]
            batch, self._waiting[key] = waiting[: self._max_batch], waiting[self._max_batch :]
            if not batch:
                del self._waiting[key]
        if batch:
            batch[0].batch = batch
            batch[0].asleep.release()

    def _serve(self, batch: Sequence[_Call[I, R]]) -> None:
        try:
            for call, value in zip(batch, self._run([call.item for call in batch]), strict=True):
                call.value = value
        except BaseException as error:  # noqa: BLE001 (it is raised in the thread of each call)
            if len(batch) > 1 and isinstance(error, Exception) and not passes(error):
                for call in batch:
                    self._serve([call])
                return
            for call in batch:
                call.error = error
