"""Logging of outages: a line when a server goes away, a line when it is back, and nothing in between."""

from __future__ import annotations

import logging
import threading

from ipam.errors import IpamError


class Outage:
    """Logs the beginning and the end of each outage, whichever thread notices it first.

    Args:
        log: The logger of the module that needs the server.
        part: What does not work, such as `the broker takes no message of jobs`.
        remedy: What is done meanwhile and what to check, as a sentence.
    """

    def __init__(self, log: logging.Logger, part: str, remedy: str) -> None:
        self._log = log
        self._part = part
        self._remedy = remedy
        self._lock = threading.Lock()
        self._is_on = False

    def begin(self, where: str, error: BaseException) -> None:
        """Note that the server at *where* has failed with *error*; only the first time is logged."""
        with self._lock:
            was_on, self._is_on = self._is_on, True
        if not was_on:
            said, name = str(error).removesuffix("."), type(error).__name__
            reason = said if isinstance(error, IpamError) else f"{name}: {said}" if said else name
            self._log.warning("%s at %s: %s. %s", self._part, where, reason, self._remedy)

    def end(self) -> None:
        """Note that the server works again."""
        if self._is_on:
            with self._lock:
                was_on, self._is_on = self._is_on, False
            if was_on:
                self._log.info("%s: over", self._part)
