"""Starting a database again that lives and can do nothing."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable
from pathlib import Path

from ipam.errors import passes
from ipam.storage.stores import Stores

_LOOKS_EVERY_S = 2.0
# One failure may be of the moment.
_FAILURES = 3
# With less room than that it would only fail again.
_ROOM_BYTES = 64 * 1024 * 1024


class Watchdog:
    """Looks whether the database takes a write; one whose disk was full answers errors to everything, for ever.

    Args:
        stores: On that database.
        folder: Where its files are.
        restart: Kills the database, which is then started again.
        say: Takes a line for the user.
    """

    def __init__(
        self, stores: Stores, folder: Path, restart: Callable[[], None], say: Callable[[str], None]
    ) -> None:
        self._stores = stores
        self._folder = folder
        self._restart = restart
        self._say = say
        self._failures = 0
        self._is_waiting = False

    def run(self, stopped: threading.Event) -> None:
        """Look every two seconds until *stopped* is set."""
        while not stopped.wait(_LOOKS_EVERY_S):
            self.look()

    def look(self) -> None:
        """Look once, and have the database started again if it failed three times in a row and has room."""
        if self._works():
            if self._is_waiting:
                self._say("the database works again")
            self._failures, self._is_waiting = 0, False
            return
        self._failures += 1
        if self._failures < _FAILURES:
            return
        if shutil.disk_usage(self._folder).free >= _ROOM_BYTES:
            self._say("the database answers errors to everything; starting it again")
            self._failures = 0
            self._restart()
        elif not self._is_waiting:
            self._is_waiting = True
            room = _ROOM_BYTES // 2**20
            self._say(f"the disk of {self._folder} is full: the database waits for {room} MiB of room")

    def _works(self) -> bool:
        """Return whether the database takes a write; one that does not answer counts too, for it may be slow."""
        try:
            self._stores.positions.write()
        except Exception as error:  # noqa: BLE001 (whatever it says)
            return passes(error)
        return True
