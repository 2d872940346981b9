"""A limit on how often the log tells of the same thing."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict

# Things that are remembered; of more the oldest are forgotten.
_REMEMBERED = 10_000


class LogLimit:
    """Allows a line about each thing once in *interval_s* seconds; for all threads."""

    def __init__(self, interval_s: float) -> None:
        self._interval_s = interval_s
        self._lock = threading.Lock()
        self._told_at_s: OrderedDict[str, float] = OrderedDict()

    def allows(self, about: str) -> bool:
        """Return whether a line *about* this is due; if so, the next one is due after the interval."""
        now_s = time.monotonic()
        with self._lock:
            told_at_s = self._told_at_s.get(about)
            if told_at_s is not None and now_s - told_at_s < self._interval_s:
                return False
            self._told_at_s[about] = now_s
            self._told_at_s.move_to_end(about)
            while len(self._told_at_s) > _REMEMBERED:
                self._told_at_s.popitem(last=False)
        return True
