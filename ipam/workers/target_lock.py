"""A lock for each target between the worker processes of one machine."""

from __future__ import annotations

import fcntl
import mmap
import os
import random
import stat
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO

from bson import ObjectId

from ipam.allocation.job_runner import NextRun

# Each has a mark and a time, of eight bytes both. Targets that share one only look once more than they need to.
_PLACES = 1 << 16
_BYTES = 8
_HALF = _PLACES * _BYTES
# Not on a disk, which serves the database: a write to a file there now and then waits for the disk.
_MEMORY = Path("/dev/shm")  # noqa: S108 (another user's file there is not used)
# The bits of a target that make an offset in a file.
_OFFSET_MASK = (1 << 62) - 1
# Behind them those of the processes that do large jobs.
_LARGE_OFFSET = 1 << 62


def open_lock_file(folder: Path = _MEMORY) -> IO[bytes]:
    """Return the lock file that all workers of this user on this machine share, in a *folder* in memory.

    If that cannot be, a nameless one for the processes of one worker.
    """
    try:
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        number = os.open(folder / f"ipam-turns-{os.geteuid()}", flags, 0o600)
    except OSError:
        return tempfile.TemporaryFile()
    found = os.fstat(number)
    if stat.S_ISREG(found.st_mode) and found.st_uid == os.geteuid():
        return os.fdopen(number, "r+b", buffering=0)
    os.close(number)
    return tempfile.TemporaryFile()


class TargetLock:
    """Lets one process do what there is to do about a target, and the others leave that to it.

    Two that work for one subnet only get in each other's way: one wins the ledger, the other begins again. If one
    takes all that has come while it was busy, batches are larger.

    It must be made before the processes are forked that use it. When one dies the system lets go of what it held.

    Args:
        patience_s: After so many seconds other processes no longer rely on the one at a target.
        large: So many processes may do large jobs at once.
        file: The lock file that all processes share. It must stay open, and be opened once a process:
            the system lets go of all locks of a process that closes a file, however often that was opened.
    """

    def __init__(self, patience_s: float, large: int, file: IO[bytes]) -> None:
        self._patience_s = patience_s
        self._large = large
        file.truncate(2 * _HALF)
        # It is locked byte by byte, a byte for each target, and most of them are where it has none.
        self._file = file
        shared = memoryview(mmap.mmap(file.fileno(), 2 * _HALF))
        self._marks, self._since = shared[:_HALF].cast("Q"), shared[_HALF:].cast("d")
        self._chance = random.SystemRandom()  # Which does not go on in each process as it was before the fork.

    def take(self, target: ObjectId, work: Callable[[], float | None]) -> float | None:
        """Call *work*, unless another process is at *target*: then that one calls it once more when it is done.

        Returns what it returned when it was called last; None if it was not. That is in how many seconds the caller
        is to do so again, which ends the turn; or None, when nothing is left to be done.

        Nothing that was there to be done before this is called stays undone: a process that leaves has made its
        mark while another was at the target, and that one has seen it before it looked what there is to do, or sees
        it now.
        """
        number = int.from_bytes(target.binary)
        place, offset = number % _PLACES, number & _OFFSET_MASK
        self._marks[place] = self._chance.getrandbits(8 * _BYTES)
        outcome = None
        while self._is_taken(offset):
            self._since[place] = time.monotonic()  # The same clock in all processes of a machine.
            try:
                seen = self._marks[place]
                outcome = work()
            finally:
                fcntl.lockf(self._file, fcntl.LOCK_UN, 1, offset)
            if outcome is not None or self._marks[place] == seen:
                return outcome
        if time.monotonic() - self._since[place] > self._patience_s:
            outcome = work()
        return outcome

    def take_large(self, work: Callable[[], NextRun]) -> NextRun:
        """Call *work* and return what it returns; or `MUCH_LATER`, if as many processes as may do large jobs."""
        for offset in range(_LARGE_OFFSET, _LARGE_OFFSET + self._large):
            if self._is_taken(offset):
                try:
                    return work()
                finally:
                    fcntl.lockf(self._file, fcntl.LOCK_UN, 1, offset)
        return NextRun.MUCH_LATER

    def _is_taken(self, offset: int) -> bool:
        try:
            fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, offset)
        except (BlockingIOError, PermissionError):  # Another has it; the system may say so in either way.
            return False
        return True
