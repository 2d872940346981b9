"""Bringing to an end what is on its way in ledgers: forward when its job was decided, back when it was not."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from bson import ObjectId

from ipam.allocation.leasing import Leasing
from ipam.allocation.planning import withdraw
from ipam.allocation.requests import ReservationRequest
from ipam.models.documents import LIVING, Job, JobState, Reservation, Subnet, utc_now
from ipam.models.ledgers import Grant
from ipam.models.stores import Stores
from ipam.retrying import retry_contended


class Settling:
    """Finishes or withdraws grants, and finishes releases, whoever began them."""

    def __init__(self, stores: Stores, leasing: Leasing) -> None:
        self._stores = stores
        self._leasing = leasing

    def finish(self, jobs: Mapping[ObjectId, Job], subnets: Iterable[Subnet]) -> None:
        """Carry decided *jobs* to their success; *subnets* are those that they have grants in.

        The order is what makes it repeatable: leases, then the reservation that shows them, then the job that
        points at it, and only then are the grants struck out that say what to do.
        """
        due = [
            (subnet, [grant for grant in subnet.ledger.grants if _counts(grant, jobs.get(grant.job))])
            for subnet in subnets
        ]
        held: dict[ObjectId, list[ObjectId]] = {}
        for subnet, grants in due:
            self._leasing.hand_out(subnet, grants)
            for grant in grants:
                held.setdefault(grant.job, []).append(subnet.id)
        self._stores.reservations.insert([_reservation(jobs[job], ids) for job, ids in held.items()])
        self._stores.jobs.succeed(jobs)
        for subnet, grants in due:
            self._stores.subnets.finish_grants(subnet.id, grants)

    def finish_grants_of(self, subnet: Subnet, reservation: ObjectId) -> bool:
        """Carry to success what is on its way from *subnet* to *reservation*; True if there was anything."""
        grants = [grant for grant in subnet.ledger.grants if grant.reservation == reservation]
        jobs = self._stores.jobs.get_many(grant.job for grant in grants)
        due = {grant.job: jobs[grant.job] for grant in grants if _counts(grant, jobs.get(grant.job))}
        for id_, job in due.items():
            self.finish({id_: job}, self.subnets_of(job))
        return bool(due)

    def subnets_of(self, job: Job) -> list[Subnet]:
        """All subnets, in whatever state, in which *job* may have grants."""
        if job.subnet is None:
            return self._stores.subnets.of_pool(job.pool, LIVING)
        subnet = self._stores.subnets.find(job.subnet)
        return [subnet] if subnet else []

    def settle(self, subnet: Subnet, *, by_force: bool = False) -> bool:
        """End everything in the ledger of *subnet* that nobody is working on; True if there was anything.

        *by_force* ends also what a worker has in hand: the job is taken from it and will be tried again.
        """
        changed = False
        for release in subnet.ledger.releases:
            self._leasing.put_back(subnet, release)
            changed = True
        jobs = self._stores.jobs.get_many(grant.job for grant in subnet.ledger.grants)
        for grant in subnet.ledger.grants:
            job = jobs.get(grant.job)
            if _in_hand(grant, job):
                if not by_force:
                    continue
                self._stores.jobs.disown([grant.job])
                job = self._stores.jobs.get(grant.job)
            if job is not None and _counts(grant, job):
                self.finish({job.id: job}, self.subnets_of(job))
            else:
                self.withdraw(subnet.id, grant)
            changed = True
        return changed

    def withdraw(self, subnet_id: ObjectId, grant: Grant) -> None:
        """Send the addresses of a grant that does not count back to the queue."""

        def attempt() -> None:
            subnet = self._stores.subnets.find(subnet_id)
            if subnet is None or grant not in subnet.ledger.grants:
                return
            ledger, release = withdraw(subnet.ledger, grant, ObjectId(), utc_now())
            self._leasing.put_back(self._stores.subnets.change_ledger(subnet, ledger), release)

        retry_contended(attempt)


def _counts(grant: Grant, job: Job | None) -> bool:
    return job is not None and job.decision == grant.batch


def _in_hand(grant: Grant, job: Job | None) -> bool:
    """Whether the worker that made *grant* may still decide that it counts."""
    return job is not None and job.state is JobState.RUNNING and job.decision is None and job.claim == grant.batch


def _reservation(job: Job, subnets: list[ObjectId]) -> Reservation:
    request = ReservationRequest.from_json(job.request)
    return Reservation(
        id=job.reservation,
        name=request.name,
        tags=request.tags,
        metadata=request.metadata,
        pool=job.pool,
        subnets=tuple(subnets),
        count=request.count,
    )
