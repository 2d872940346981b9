"""Waking workers."""

from __future__ import annotations

from typing import Protocol

from bson import ObjectId


class Dispatcher(Protocol):
    """Wakes a worker; a lost message only costs time, for beat looks for what was forgotten."""

    def dispatch(self, target: ObjectId) -> None:
        """Ask for the jobs of *target* to be carried out. Raises nothing."""
