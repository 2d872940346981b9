"""The scheduler of beat: each task every so many seconds, whatever becomes of clocks and the broker."""

from __future__ import annotations

import time
from typing import Any

from celery.beat import ScheduleEntry, Scheduler

from ipam.util.heartbeat import Heartbeat
from ipam.workers.celery_dispatcher import CeleryDispatcher


class SteadyScheduler(Scheduler):
    """Keeps the intervals by a monotonic clock, and tries each once.

    Celery's own goes by the wall clock, and sends nothing for an hour if that is set back by an hour. It waits for
    a broker that is away, and writes a traceback for each message that is not taken.
    """

    def __init__(self, *args: Any, **named: Any) -> None:
        super().__init__(*args, **named)
        self._due: dict[str, float] = {}
        self._heartbeat = Heartbeat("beat", self.app.conf.ipam_database)
        self._dispatcher = CeleryDispatcher(self.app)

    def tick(self, *_args: Any, **_named: Any) -> float:
        """Send what is due; returns how many seconds it is until the next is."""
        self._heartbeat.beat()
        for name, entry in self.schedule.items():
            if self._due.get(name, 0.0) <= time.monotonic():
                self.apply_entry(entry)
                every: Any = entry.schedule  # An interval, as all that are declared.
                self._due[name] = time.monotonic() + every.run_every.total_seconds()
        return max(0.0, min(self._due.values()) - time.monotonic())

    def apply_entry(self, entry: ScheduleEntry, producer: Any = None) -> None:
        """Send the message of *entry* once; if the broker does not take it, its next one will do."""
        del producer
        self._dispatcher.send(f"of {entry.name}", entry.task or "", **(entry.options or {}))
