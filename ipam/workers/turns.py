"""Who has a target in hand, among the processes of one worker: one at a time."""

from __future__ import annotations

import fcntl
import mmap
import os
import tempfile
from collections.abc import Callable

from bson import ObjectId

_PLACES = 1 << 16
_MARK_BYTES = 8
# The lowest bits of a target that make a file offset; of two targets with the same ones, one waits for the other.
_OFFSET_MASK = (1 << 62) - 1


class Turns:
    """Lets one process do what there is to do about a target, and the others leave that to it.

    Two that work for one subnet only get in each other's way: one wins the ledger, the other begins again. If one
    takes all that has come while it was busy, batches are larger.

    It must be made before the processes are forked that share it. When one dies the system lets go of what it held.
    """

    def __init__(self) -> None:
        # Nothing is ever in it: it is locked byte by byte, a byte for each target.
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 (kept for as long as the process lives)
        self._marks = mmap.mmap(-1, _PLACES * _MARK_BYTES)

    def take(self, target: ObjectId, work: Callable[[], None]) -> None:
        """Call *work*, unless another process is at *target*: then that one calls it once more when it is done.

        Nothing that was there to be done before this is called stays undone: whoever leaves has made his mark while
        another held the target, and that one has seen it before it looked what there is to do, or sees it now.
        """
        number = int.from_bytes(target.binary)
        place, offset = number % _PLACES * _MARK_BYTES, number & _OFFSET_MASK
        mark = slice(place, place + _MARK_BYTES)
        self._marks[mark] = os.urandom(_MARK_BYTES)
        while self._is_taken(offset):
            try:
                seen = self._marks[mark]
                work()
            finally:
                fcntl.lockf(self._file, fcntl.LOCK_UN, 1, offset)
            if self._marks[mark] == seen:
                return

    def _is_taken(self, offset: int) -> bool:
        try:
            fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, offset)
        except (BlockingIOError, PermissionError):  # Another has it; the system may say so in either way.
            return False
        return True
