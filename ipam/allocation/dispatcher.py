"""Telling other processes what is to be done, and what is done."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from bson import ObjectId


class Dispatcher(Protocol):
    """Wakes a worker, or who waits for one; a lost message only costs time, as both are looked after without."""

    def dispatch(self, target: ObjectId) -> None:
        """Ask for the jobs of *target* to be carried out. Raises nothing."""

    def announce(self, jobs: Sequence[ObjectId]) -> None:
        """Let those who wait for *jobs* look at once whether these have ended. Raises nothing."""
