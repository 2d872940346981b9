"""Bringing to an end what is on its way in ledgers: forward when it counts, back when it does not."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import chain

from bson import ObjectId

from ipam.allocation.dispatcher import JobResults
from ipam.allocation.entry_applier import NOT_SEEN, Blocks, EntryApplier
from ipam.allocation.job_results import granted_at, holdings_of, reservation_of, succeeded
from ipam.errors import RetriesExhausted, passes
from ipam.models import event_factory
from ipam.models.audit_context import AuditContext, use_audit_context
from ipam.models.event import Outbox
from ipam.models.job import Job, JobState
from ipam.models.ledger import Grant, Ledger, LedgerState
from ipam.models.reservation import Reservation
from ipam.storage.bulk_writes import Writes, sparing
from ipam.storage.stores import Stores
from ipam.storage.time_span import Span, begun_within, held_for
from ipam.util.clock import utc_now

log = logging.getLogger(__name__)
# So many leases are written before it is said that it goes on: that is over long before anybody takes the job for
# abandoned.
HANDED_OUT_AT_ONCE = 4096
# A ledger, and those grants in it that are to be carried out.
Due = tuple[Ledger, Sequence[Grant]]


class RollForward:
    """Finishes or withdraws grants, and finishes releases, whichever process began them."""

    def __init__(self, stores: Stores, entry_applier: EntryApplier, claim_timeout_s: float) -> None:
        self._stores = stores
        self._entry_applier = entry_applier
        self._claim_timeout_s = claim_timeout_s

    def finish(
        self,
        jobs: Mapping[ObjectId, Job],
        ledgers: Iterable[Ledger],
        seen: Mapping[ObjectId, Blocks] = NOT_SEEN,
    ) -> JobResults:
        """Carry *jobs* to their success whose grants count, and return how these have ended.

        *ledgers* are those that they have grants in, *seen* are blocks of their subnets, if they were read before
        the grants were made.

        The order is what makes it repeatable: leases, then the event, then the reservation that shows them, then
        the job that points at it, then the blocks, and only then are the grants struck out that say what to do. The
        event comes before what it tells of can be seen, so that no later one of the same reservation overtakes it.
        """
        due = [
            (ledger, [grant for grant in ledger.grants if _counts(grant, jobs.get(grant.job))])
            for ledger in ledgers
        ]
        held: dict[ObjectId, dict[ObjectId, Grant]] = {}
        for ledger, grants in due:
            for grant in grants:
                held.setdefault(grant.job, {})[ledger.id] = grant
        made = {
            job: reservation_of(jobs[job], holdings_of(grants), granted_at(grants)) for job, grants in held.items()
        }
        told = self._telling((reservation, jobs[job].audit_context) for job, reservation in made.items())
        handed_out = self._hand_out_if_many(due, jobs, seen)
        stored = self._stores.reservations.insertion(made.values())
        now = utc_now()
        ended = {job: succeeded(jobs[job], grants, now) for job, grants in held.items()}
        steps = [*handed_out, told, stored, self._stores.jobs.success(ended.values())]
        endings = [
            self._entry_applier.ending(ledger.id, grants, (), seen.get(ledger.id, NOT_SEEN))
            for ledger, grants in due
        ]
        if not (self._stores.writer.write([*steps, *chain(*endings)]) and all(endings)):
            self._strike_out(due)
        since = min((granted_at(grants) for grants in held.values()), default=now)
        if since not in begun_within(self._claim_timeout_s / 2):
            return dict.fromkeys(ended)  # Another worker may have taken them for abandoned meanwhile.
        return ended

    def abandon(self, job: Job, error: RetriesExhausted) -> None:
        """Give up a *job* that has addresses and cannot be finished: they go back, the caller gets *error*.

        Its reservation is stored without what the user wrote, which may be what cannot be stored, and as one that
        is being released: from then on `Recovery` takes it for a release that was left half done.
        """
        ledgers = self.ledgers_of(job)
        due = [(ledger, [one for one in ledger.grants if _counts(one, job)]) for ledger in ledgers]
        held = {ledger.id: grant for ledger, grants in due for grant in grants}
        unwanted = Reservation(
            id=job.reservation, pool=job.pool, subnets=tuple(held), count=0, holdings=holdings_of(held)
        )
        self._stores.writer.write([self._telling([(unwanted, job.audit_context)])])
        with use_audit_context(job.audit_context):
            self._stores.reservations.insert_unwanted(unwanted)
        if self._stores.reservations.get_many([job.reservation]):
            self.finish({job.id: job}, ledgers)  # Another worker could store it after all.
            return
        self._stores.writer.write(self._hand_out_if_many(due, [job.id]))
        self._stores.jobs.abandon(job, error.to_record())
        self._strike_out(due)

    def _telling(self, made: Iterable[tuple[Reservation, AuditContext]]) -> Writes:
        """Return the inserts of the events of new reservations, each with its audit context."""
        created = tuple(event_factory.reserved(reservation, audit_context) for reservation, audit_context in made)
        return self._stores.events.addition([Outbox(created)])

    def _strike_out(self, due: Sequence[Due]) -> None:
        for ledger, grants in due:
            self._entry_applier.end(ledger.id, grants, ())

    def _hand_out_if_many(
        self, due: Sequence[Due], jobs: Collection[ObjectId], seen: Mapping[ObjectId, Blocks] = NOT_SEEN
    ) -> list[Writes]:
        """Write the leases of grants, if they are many; else return how, for these to be written with what follows.

        After every few thousand *jobs* are held for another while. Those that ask for so many are never carried out
        together with others: what is written is the progress of the only one.
        """
        writes = self._handing_out(due, seen)
        if sum(len(grant.addresses) for _, grants in due for grant in grants) <= HANDED_OUT_AT_ONCE:
            return list(writes)
        written = renewed = 0
        for one in writes:
            with sparing():
                self._stores.writer.write([one])
            written += len(one)
            if written - renewed >= HANDED_OUT_AT_ONCE:
                renewed = written
                self._stores.jobs.renew(jobs, self._claim_timeout_s, written)
        return []

    def _handing_out(self, due: Sequence[Due], seen: Mapping[ObjectId, Blocks]) -> Iterator[Writes]:
        """Yield how the leases of grants are written, in the order of their keys: their ids say which each is."""
        ranks: Counter[ObjectId] = Counter()
        for ledger, grants in sorted(due, key=lambda one: one[0].id):
            yield from self._entry_applier.handing_out(ledger, grants, ranks, seen.get(ledger.id, NOT_SEEN))
            ranks.update({grant.reservation: len(grant.addresses) for grant in grants})

    def finish_grants_of(self, ledger: Ledger, reservation: ObjectId) -> bool:
        """Carry to success what is on its way in *ledger* to *reservation*; True if there was anything."""
        grants = [grant for grant in ledger.grants if grant.reservation == reservation]
        jobs = self._stores.jobs.get_many(grant.job for grant in grants)
        due = {grant.job: jobs[grant.job] for grant in grants if _counts(grant, jobs.get(grant.job))}
        for job in due.values():
            self._finish_or_leave(job, by_force=False)
        return bool(due)

    def ledgers_of(self, job: Job) -> list[Ledger]:
        """Return all ledgers, open or closed, in which *job* may have grants."""
        if job.subnet is None:
            return self._stores.ledgers.of_pool(job.pool, tuple(LedgerState))
        ledger = self._stores.ledgers.find(job.subnet)
        return [ledger] if ledger else []

    def settle(self, ledger: Ledger, recent: Span | None = None, *, by_force: bool = False) -> bool:
        """Finish or withdraw all entries of *ledger* that no process works on; return whether there were any.

        What was begun in the span *recent* is left alone. *by_force* ends also what a worker has in hand: the job
        is taken from it and will be tried again.
        """
        changed, held = False, held_for(self._claim_timeout_s)
        for release in ledger.releases:
            if recent is None or release.at not in recent:
                self._entry_applier.put_back(ledger.id, [release])
                changed = True
        grants = [grant for grant in ledger.grants if recent is None or grant.at not in recent]
        jobs = self._stores.jobs.get_many(grant.job for grant in grants)
        for grant in grants:
            job = jobs.get(grant.job)
            if _in_hand(grant, job):
                if not by_force:
                    continue
                self._stores.jobs.disown([grant.job])
                job = self._stores.jobs.get(grant.job)
            if job is None or not _counts(grant, job):
                self._stores.ledgers.withdraw_grant(ledger.id, grant)
                changed = True
            elif by_force or job.state.terminal or job.claimed_until not in held:  # Else it is being finished.
                changed |= self._finish_or_leave(job, by_force=by_force)
        return changed

    def _finish_or_leave(self, job: Job, *, by_force: bool) -> bool:
        """Finish a job that has addresses; if that cannot be done leave it for later, or *by_force* abandon it."""
        try:
            self.finish({job.id: job}, self.ledgers_of(job))
        except Exception as error:
            if passes(error):
                raise
            log.exception("job %s could not be finished", job.id)
            if not by_force:
                return False
            self.abandon(job, RetriesExhausted("The job could not be finished before its subnet was deleted."))
        return True


def _counts(grant: Grant, job: Job | None) -> bool:
    return job is not None and job.id == grant.job and grant.batch in (None, job.decision)


def _in_hand(grant: Grant, job: Job | None) -> bool:
    """Return whether the worker that made *grant* may still decide that it counts."""
    if job is None or grant.batch is None:
        return False
    return job.state is JobState.RUNNING and job.decision is None and job.claim == grant.batch
