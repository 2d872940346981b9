"""Several web processes on one port: forked from one that looks after them and answers nothing itself."""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress

log = logging.getLogger(__name__)
# A process that dies at once again and again is replaced at this pace.
_REPLACE_PAUSE_S = 1.0
_STOP = (signal.SIGTERM, signal.SIGINT)
# How a process ends that cannot do what it was told; another could not either.
_CANNOT_START = 2


def run_prefork(count: int, serve: Callable[[int], None], sockets: Sequence[socket.socket]) -> None:
    """Run *serve* in *count* processes that share *sockets*, until SIGTERM or SIGINT; one that dies is replaced.

    It gets the process's place, from 0 on; a process that replaces another has the same.

    In each of them this returns when *serve* does. That must open all by itself which is not to be shared; nothing
    else may be open, and no thread may run, when this is called.

    Raises:
        SystemExit: In the process that looks after the others, with the worst of their exit codes.
    """
    if count == 1:
        serve(0)
        return
    serve(_Prefork(count, sockets).look_after())


class _Prefork:
    """A parent and its children; they end when it does, however that comes."""

    def __init__(self, count: int, sockets: Sequence[socket.socket]) -> None:
        self._count = count
        self._sockets = sockets
        self._children: dict[int, int] = {}  # The place of each, by its process id.
        self._is_stopping = False
        self._worst = 0
        # Nothing is written to it: it ends when the parent, which alone could write, is gone.
        self._alive, self._held = os.pipe()

    def look_after(self) -> int:
        """Look after children until the last has ended; this returns in a child only, with its place.

        Raises:
            SystemExit: At that end.
        """
        for number in _STOP:
            signal.signal(number, lambda *_: self._stop())
        while True:
            for place in set(range(self._count)) - set(self._children.values()):
                if not self._is_stopping and self._fork(place):
                    return place
            if not self._children:
                sys.exit(self._worst)
            pid, status = os.wait()
            self._children.pop(pid, None)
            self._hear(pid, os.waitstatus_to_exitcode(status))

    def _hear(self, pid: int, code: int) -> None:
        if code == _CANNOT_START:
            self._stop()
        if self._is_stopping:
            was_not_up_yet = code == -signal.SIGTERM
            self._worst = max(self._worst, 0 if was_not_up_yet else abs(code))
        else:
            log.warning("web process %d ended with %d; another takes its place", pid, code)
            time.sleep(_REPLACE_PAUSE_S)

    def _stop(self) -> None:
        """Have all children stop; a second time, at once."""
        self._is_stopping = True
        for listening in self._sockets:
            listening.close()
        for pid in self._children:
            with suppress(ProcessLookupError):  # It has just been waited for.
                os.kill(pid, signal.SIGTERM)

    def _fork(self, place: int) -> bool:
        """Fork a process; return True in the child."""
        with _undisturbed():  # By a signal that would find it neither there nor not there.
            if pid := os.fork():
                self._children[pid] = place
                return False
            os.setpgid(0, 0)  # Ctrl-C is for the parent, which tells its children.
            for number in _STOP:
                signal.signal(number, signal.SIG_DFL)
            os.close(self._held)
            threading.Thread(target=self._end_with_parent, name="parent", daemon=True).start()
            return True

    def _end_with_parent(self) -> None:
        os.read(self._alive, 1)
        os.kill(os.getpid(), signal.SIGTERM)


@contextmanager
def _undisturbed() -> Iterator[None]:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _STOP)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
