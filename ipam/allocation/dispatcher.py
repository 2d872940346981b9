"""Telling other processes what is to be done, and what is done."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from bson import ObjectId

from ipam.models.documents import Job

# Jobs by id, each as it has ended; None of one that may have, which who waits for it has to look at.
JobResults = Mapping[ObjectId, Job | None]


class Dispatcher(Protocol):
    """Wakes a worker, or who waits for one; a lost message only costs time, as both are looked after without."""

    def dispatch(self, target: ObjectId, pause_s: float = 0.0) -> None:
        """Ask for the jobs of *target* to be carried out, in *pause_s* seconds or later. Raises nothing."""

    def publish_results(self, ends: JobResults) -> None:
        """Let those who wait for these jobs hear of their *ends* at once. Raises nothing."""
