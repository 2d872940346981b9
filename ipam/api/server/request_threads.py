"""The threads that requests are answered by."""

from __future__ import annotations

import logging
from collections.abc import Collection
from typing import TYPE_CHECKING

from waitress.task import ThreadedTaskDispatcher

if TYPE_CHECKING:
    from ipam.api.server.waitress_channel import Channel

# waitress warns of each request that has to wait for a thread. Where there is one thread, that is as it should be.
_quiet = logging.getLogger(f"{__name__}.apart")
_quiet.setLevel(logging.ERROR)


class RequestThreads(ThreadedTaskDispatcher):  # type: ignore[misc]  # (waitress has no types)
    """waitress's pool of threads, and a thread for each of some paths, which requests for others never take.

    Args:
        count: Threads for all other requests.
        apart: The paths with a thread of their own. Requests for one of them are answered one after the other.
    """

    def __init__(self, count: int, apart: Collection[str]) -> None:
        super().__init__()
        self.set_thread_count(count)
        self._apart = {path: ThreadedTaskDispatcher() for path in apart}
        for thread in self._apart.values():
            thread.queue_logger = _quiet
            thread.set_thread_count(1)

    def add_task(self, task: Channel) -> None:
        """Have the first request of the connection *task* answered when a thread is free for it."""
        path = getattr(task.requests[0], "path", "")  # What is no request has none.
        threads = self._apart.get(path.rstrip("/"))
        if threads is None:
            super().add_task(task)
        else:
            threads.add_task(task)

    @property
    def is_idle(self) -> bool:
        """Return whether no request is being answered or waits for a thread."""
        for threads in (self, *self._apart.values()):
            with threads.lock:
                if threads.queue or threads.active_count:
                    return False
        return True

    def shutdown(self, cancel_pending: bool = True, timeout: float = 5) -> bool:  # noqa: FBT001, FBT002 (waitress's)
        """End all threads when they have answered what they are at; *timeout* is in seconds."""
        for threads in self._apart.values():
            threads.shutdown(cancel_pending, timeout)
        return bool(super().shutdown(cancel_pending, timeout))
