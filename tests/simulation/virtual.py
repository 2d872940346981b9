"""A world without a real clock and without real chance: what a process would ask its machine for, from a seed."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from unittest.mock import patch
from uuid import UUID

import bson.objectid
import tenacity
import tenacity.nap
from bson import ObjectId

from ipam.api.middleware import audit_context
from ipam.util import clock as real_clock
from ipam.util.coalescing import Coalescer

_BEGINNING = datetime(2026, 1, 1, tzinfo=UTC)


class Clock:
    """Seconds since the beginning of a history; they pass only when someone says so.

    Attributes:
        fast_s: How far the clock of whoever looks at it is ahead.
        set_back_s: How far the clocks of all were set back.
    """

    def __init__(self) -> None:
        self.now_s = 0.0
        self.fast_s = 0.0
        self.set_back_s = 0.0

    def utc_now(self, _tz: object = UTC) -> datetime:
        return _BEGINNING + timedelta(seconds=self.now_s + self.fast_s - self.set_back_s)

    def since_the_epoch_s(self) -> float:
        return self.utc_now().timestamp()


@contextmanager
def virtual_world(clock: Clock, seed: int, sleep: object) -> Iterator[None]:
    """Within it the time is *clock*'s, waiting is *sleep*(seconds), and ids and random numbers follow from *seed*.

    Ids hash by their value: else the order of a set of them would be another in each process.
    """
    ids, state = random.Random(seed), random.getstate()
    random.seed(seed)
    standing_still = SimpleNamespace(monotonic=lambda: clock.now_s, time=clock.since_the_epoch_s, sleep=sleep)
    with (
        patch.object(real_clock, "datetime", SimpleNamespace(now=clock.utc_now)),
        patch.object(tenacity, "time", standing_still),
        patch.object(tenacity.nap, "time", standing_still),
        patch.object(bson.objectid, "time", standing_still),
        # Threads of a process are one here: none could wait for another.
        patch.object(Coalescer, "__call__", lambda each, item, key=None: each._run([item])[0]),  # noqa: SLF001, ARG005
        patch.object(audit_context, "uuid4", lambda: UUID(int=ids.getrandbits(128))),
        patch.object(ObjectId, "_inc", 1),
        patch.object(ObjectId, "_random", classmethod(lambda _: bytes(5))),
        patch.object(ObjectId, "__hash__", lambda self: int.from_bytes(self.binary[4:])),
    ):
        try:
            yield
        finally:
            random.setstate(state)
