"""The bound on what is asked for at once, by jobs that have not ended."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ipam.errors import Transient, ValidationFailed
from ipam.models.job import Job
from ipam.storage.jobs import JobStore

# What is asked for together is not counted up to so many addresses: that costs no more than to count it.
UNCOUNTED_MAX = 1024
# Addresses that open jobs may ask for, those of one subnet or pool, and all.
TARGET_MAX = 1 << 19
TOTAL_MAX = 1 << 20
# As so many each of them counts at least, so that never more than some thousand jobs need to be counted.
_EACH_LEAST = 64


class Backlog:
    """Refuses requests for many addresses while too many are asked for already.

    A request of few bytes may keep workers busy for a minute. The bound is not exact: of requests that come at the
    same moment none sees the others.
    """

    def __init__(self, jobs: JobStore) -> None:
        self._jobs = jobs

    def admit(self, jobs: Sequence[Job]) -> Sequence[Job]:
        """Return *jobs* of one target, which are asked for together, as they are to be stored.

        Raises:
            ValidationFailed: If they ask for more than may ever be asked for.
            Transient: If they would have to wait until others have ended.
        """
        counts = [job.request["count"] for job in jobs]
        if sum(counts) <= UNCOUNTED_MAX:
            return jobs
        asked = sum(map(_price, counts))
        if asked > TARGET_MAX:
            message = f"asks for {asked} addresses; a list may ask for {TARGET_MAX} at most"
            raise ValidationFailed.at("/reservations", message)
        mine, target = {job.id for job in jobs}, jobs[0].target
        of_target = of_all = asked
        for id_, other, count in self._jobs.counted():
            if id_ not in mine:
                of_all += _price(count)
                of_target += _price(count) if other == target else 0
        if of_target > TARGET_MAX or of_all > TOTAL_MAX:
            if mine <= self._jobs.get_many(mine).keys():
                return jobs  # They were accepted before, and are only asked about again.
            raise Transient("Too many addresses are asked for by jobs that have not ended. Send the request later.")
        return [replace(job, is_counted=True) for job in jobs]


def _price(count: int) -> int:
    return max(count, _EACH_LEAST)
