"""Messages between web processes and workers: there is work, and results of jobs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from bson import ObjectId

from ipam.models.job import Job

# Finished jobs by id; None for a job that may have ended, which its waiters have to read.
JobResults = Mapping[ObjectId, Job | None]


class Dispatcher(Protocol):
    """Sends messages to workers and waiters; a lost message only costs time, for both look without messages too."""

    def dispatch(self, target: ObjectId, pause_s: float = 0.0) -> None:
        """Ask for the jobs of *target* to be carried out, in *pause_s* seconds or later. Raises nothing."""

    def publish_results(self, ends: JobResults) -> None:
        """Send the *ends* of jobs to all waiters. Raises nothing."""
