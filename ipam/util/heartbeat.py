"""The heartbeat of a process without a port: a file, for a supervisor on the same machine.

The process's own loop touches the file, so a fresh file means that the process works and does not only exist.
Reading it needs no database and no broker.
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
    the same in all processes of a machine and is never set.
    """

    def __init__(self, kind: str, database: str, folder: Path | None = None) -> None:
        self._path = (folder or Path(tempfile.gettempdir())) / f"ipam-{kind}-{database}-{os.geteuid()}.heartbeat"
        self._beat_at = -_TOUCHED_EVERY_S

    def beat(self) -> None:
        """Touch the file, at most once a second; a folder that cannot be written to does not stop the process."""
        now = time.monotonic()
        if now - self._beat_at < _TOUCHED_EVERY_S:
            return
        self._beat_at = now
        with suppress(OSError):
            # Not through a link, and not into another user's file: everybody may write to a temporary folder.
            file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            try:
                if os.fstat(file).st_uid == os.geteuid():
                    os.pwrite(file, f"{now:020.3f}".encode(), 0)
            finally:
                os.close(file)

    def age_s(self) -> float | None:
        """Return the seconds since the process last touched the file; None if that is not known."""
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
        # The reading was rounded; one that is further ahead was written before the machine was started.
        return max(age_s, 0.0) if age_s > -_TOUCHED_EVERY_S else None
