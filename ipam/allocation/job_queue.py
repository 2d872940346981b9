"""The job queue: reservation requests are accepted as jobs, and cancelled while no worker has begun them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

from bson import ObjectId

from ipam.allocation.backlog import Backlog
from ipam.allocation.dispatcher import Dispatcher
from ipam.errors import NotQueued, Transient
from ipam.hooks.admission import AdmissionController
from ipam.models.job import Job, JobKind, JobState
from ipam.models.pool import Pool
from ipam.models.reservation_request import ReservationRequest
from ipam.models.subnet import Subnet
from ipam.storage.connection import chunks
from ipam.storage.stores import Stores
from ipam.util.coalescing import Coalescer
from ipam.util.retry import retry_on_conflict

# Jobs that are stored by one call, with one message for each target.
STORED_AT_ONCE = 200


class JobQueue:
    """Accepts and cancels reservation requests, for the web process."""

    def __init__(
        self, stores: Stores, dispatcher: Dispatcher, admission: AdmissionController, claim_timeout_s: float
    ) -> None:
        self._stores = stores
        self._dispatcher = dispatcher
        self._admission = admission
        self._claim_timeout_s = claim_timeout_s
        self._backlog = Backlog(stores.jobs)
        self._store: Coalescer[Job, Job] = Coalescer(self._store_some, STORED_AT_ONCE)

    def accept(self, id_: ObjectId, owner: Subnet | Pool, request: ReservationRequest) -> Job:
        """Accept *request* for addresses of a subnet or pool as the job *id_*; to do so twice changes nothing.

        Raises:
            Transient: If too many addresses are asked for already.
        """
        (job,) = self._backlog.admit([self._new_job(id_, owner, request)])
        return self._store(job)

    def accept_all(self, owner: Subnet | Pool, requests: Mapping[ObjectId, ReservationRequest]) -> list[Job]:
        """Accept several *requests* by the ids of their jobs, which are begun in this order; returns these jobs.

        If the database goes away in the middle, these are the first of them: what was accepted is carried out.

        Raises:
            ValidationFailed: If they ask for more addresses than may ever be asked for.
            Transient: If it was away from the beginning, or too many addresses are asked for already.
        """
        accepted: list[Job] = []
        jobs = self._backlog.admit([self._new_job(id_, owner, request) for id_, request in requests.items()])
        for some in chunks(jobs, STORED_AT_ONCE):
            try:
                accepted += self._store_some(some)
            except Transient:
                if not accepted:
                    raise
                break
        return accepted

    def _new_job(self, id_: ObjectId, owner: Subnet | Pool, request: ReservationRequest) -> Job:
        pool, subnet = (owner.pool, owner.id) if isinstance(owner, Subnet) else (owner.id, None)
        new = Job(
            id=id_,
            kind=JobKind.RESERVATION,
            target=owner.id,
            pool=pool,
            subnet=subnet,
            request=request.to_json(),
            reservation=ObjectId(),
        )
        return self._admission.with_hooks(new)

    def _store_some(self, jobs: Sequence[Job]) -> Sequence[Job]:
        """Store *jobs* that were accepted at the same moment, with one message for each target."""
        self._stores.jobs.insert(*jobs)
        for target in dict.fromkeys(job.target for job in jobs):
            self._dispatcher.dispatch(target)
        return jobs

    def cancel(self, id_: ObjectId) -> None:
        """Close a job that no worker has begun.

        Raises:
            NotFound: If there is no such job.
            NotQueued: If a worker has begun it, or it is closed already.
        """
        job = self._stores.jobs.get(id_)
        if job.kind is not JobKind.RESERVATION:
            raise NotQueued(f"The job {id_} is a {job.kind.value}, which begins at once and cannot be undone.")
        if job.state is JobState.QUEUED:
            token, claimed = self._stores.jobs.claim([job], self._claim_timeout_s)
            try:
                is_mine = bool(claimed) and retry_on_conflict(partial(self._forestall, job))
                if is_mine and self._stores.jobs.cancel(job, token):
                    self._dispatcher.publish_results({id_: None})
                    return
            finally:
                self._stores.jobs.disown([id_], token)
        state = self._stores.jobs.get(id_).state
        raise NotQueued(f"The job {id_} is {state} already; only a queued one can be cancelled.")

    def _forestall(self, job: Job) -> bool:
        """Keep workers from granting addresses to *job*, which is claimed; return False if one has.

        A worker that would do so without a claim has read the ledger before: so it is written, though with nothing
        new. One that is closed was written by that.

        Raises:
            WriteConflict: If the ledger was changed meanwhile.
        """
        ledger = self._stores.ledgers.find(job.subnet) if job.subnet else None
        if ledger is not None:
            if job.id in ledger.granted:
                return False
            if ledger.is_open:
                self._stores.ledgers.write(ledger)
        return True
