"""That a process without a port is at work, told by a file: for a supervisor on the same machine.

Whether it is at work and not only there is known to its own loop, so that touches the file each time it goes round;
no database and no broker is needed to look.
"""

from __future__ import annotations

import os
import tempfile
import time
from contextlib import suppress
from pathlib import Path

_TOUCHED_EVERY_S = 1.0


class Heartbeat:
    """The heartbeat of a process of one *kind*, such as `relay`, of the installation on one *database*.

    Processes of the same kind, database and user on one machine share it. It holds the reading of a clock that is
    the same in all processes of a machine and that nobody sets.
    """

    def __init__(self, kind: str, database: str, folder: Path | None = None) -> None:
        self._path = (folder or Path(tempfile.gettempdir())) / f"ipam-{kind}-{database}-{os.geteuid()}.heartbeat"
        self._beat_at = -_TOUCHED_EVERY_S

    def beat(self) -> None:
        """Say that the process is at work; a folder that cannot be written to is no reason to stop it."""
        now = time.monotonic()
        if now - self._beat_at < _TOUCHED_EVERY_S:
            return
        self._beat_at = now
        with suppress(OSError):
            # Not through a link, and not into what is another user's: anybody may write to a temporary folder.
            file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            try:
                if os.fstat(file).st_uid == os.geteuid():
                    os.pwrite(file, f"{now:020.3f}".encode(), 0)
            finally:
                os.close(file)

    def age_s(self) -> float | None:
        """Return how many seconds ago the process was last at work; None if that is not known."""
        try:
            file = os.open(self._path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:
            return None
        with os.fdopen(file, "rb") as text:
            if os.fstat(text.fileno()).st_uid != os.geteuid():
                return None
            try:
                age_s = time.monotonic() - float(text.read())
            except ValueError:
                return None
        # It was rounded; one that is further ahead is of before the machine was started.
        return max(age_s, 0.0) if age_s > -_TOUCHED_EVERY_S else None
