"""The job runner: workers carry out reservation requests, and releases and deletions that take long."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import Enum, auto
from functools import partial
from typing import Protocol

from bson import ObjectId

from ipam.allocation.cascade_delete import CascadeDeleter
from ipam.allocation.dispatcher import Dispatcher
from ipam.allocation.granting import GIVE_UP_AFTER_FAILURES, Granter, given_up
from ipam.allocation.release import Releaser
from ipam.allocation.roll_forward import RollForward
from ipam.errors import Transient, passes
from ipam.hooks.admission import AdmissionController
from ipam.models.job import Job, JobKind
from ipam.models.ledger import Ledger
from ipam.models.reservation_request import ReservationRequest
from ipam.storage.stores import Stores
from ipam.storage.time_span import begun_within
from ipam.util.clock import utc_now
from ipam.util.retry import retry_on_conflict

log = logging.getLogger(__name__)

# Jobs claimed at once, and addresses taken at once: large enough that the ledger's write is shared by many,
# small enough that a batch is over long before its claim runs out.
BATCH_JOBS = 200
BATCH_ADDRESSES = 4096
# A request that has just come, for addresses of one subnet and no more than a batch has, is granted them without a
# claim: that saves a call. One that has waited for longer may be what makes workers fail, which is counted by
# claims that run out.
NEW_FOR_S = 5.0
# A job that has failed so often may be what makes workers fail: it gets a batch of its own, so that no other job
# fails with it.
ALONE_AFTER_FAILURES = 3


# A turn at a target ends after so many batches, or after one job that asks for more than a batch has: then other
# targets come first.
TURN_BATCHES = 4


class NextRun(Enum):
    """When to go on with what may be left of the jobs of a target."""

    NONE = auto()
    AT_ONCE = auto()
    LATER = auto()
    MUCH_LATER = auto()


class Turns(Protocol):
    """Says which of several processes does what."""

    def take(self, target: ObjectId, work: Callable[[], float | None]) -> float | None:
        """Call *work* and return what it returns; or leave it to the process that is at *target*: None.

        It returns in how many seconds to go on with what is left, None if nothing is.
        """

    def take_large(self, work: Callable[[], NextRun]) -> NextRun:
        """Call *work* and return what it returns; or `MUCH_LATER`, if as many processes as may do large jobs."""


class SingleProcess:
    """The turns of a process that has no others beside it."""

    def take(self, _target: ObjectId, work: Callable[[], float | None]) -> float | None:
        """Call *work* and return what it returns."""
        return work()

    def take_large(self, work: Callable[[], NextRun]) -> NextRun:
        """Call *work* and return what it returns."""
        return work()


# When that is, in seconds from now; None if never.
_PAUSES_S = {NextRun.NONE: None, NextRun.AT_ONCE: 0.0, NextRun.LATER: 0.0, NextRun.MUCH_LATER: 1.0}


@dataclass(kw_only=True)
class JobRunner:
    """Carries out jobs, for the worker.

    Attributes:
        claim_timeout_s: So long a claim holds without being renewed.
    """

    stores: Stores
    roll_forward: RollForward
    granter: Granter
    releaser: Releaser
    cascade_deleter: CascadeDeleter
    dispatcher: Dispatcher
    admission: AdmissionController
    claim_timeout_s: float

    def run(self, target: ObjectId, turns: Turns | None = None) -> None:
        """Carry out the waiting jobs of a subnet or pool; or a part of a release or a deletion.

        *turns* say whether that is for this process to do; it is, if there are none.

        Raises:
            Transient: If the database went away; what was begun will be finished by the next call.
        """
        turns = turns or SingleProcess()
        pause_s = turns.take(target, partial(self._carry_out_turn, target, turns))
        if pause_s is not None:
            # Behind what waits already; and after the turn, or the process that receives it would leave it to this
            # one.
            self.dispatcher.dispatch(target, pause_s)

    def _carry_out_turn(self, target: ObjectId, turns: Turns) -> float | None:
        """Carry out what waits for *target*, or some of it; returns in how many seconds to go on, None if never."""
        rest = NextRun.AT_ONCE
        for _ in range(TURN_BATCHES):
            rest = retry_on_conflict(partial(self._carry_out_some, target, turns))
            if rest is not NextRun.AT_ONCE:
                break
        return _PAUSES_S[rest]

    def _carry_out_some(self, target: ObjectId, turns: Turns) -> NextRun:
        """Carry out some of the jobs that wait for *target*; returns when to go on with what may be left.

        Raises:
            WriteConflict: If a ledger was changed meanwhile; then nothing is held.
        """
        # The ledger is read before the jobs. So a job that waits and has no grant in it has had none: a grant goes
        # when its job is closed, not earlier. If the ledger is the same when it is written, that is still so.
        ledger = self.stores.ledgers.find(target)
        if ledger is not None and not ledger.is_open and self.stores.subnets.is_active(target):
            return NextRun.NONE  # It is closed for a moment; what waits gets another message from recovery.
        waiting, more = self.stores.jobs.waiting(target, BATCH_JOBS, self.claim_timeout_s)
        if ledger is not None and ledger.is_open:
            new = [job for job in waiting if self._is_new(job)]
            ungranted = [job for job in new if job.id not in ledger.granted]
            in_hand = {job.id for job in new} - {job.id for job in ungranted}
            waiting = [job for job in waiting if job.id not in in_hand]  # Another worker has just granted these.
            batch = next(_batches(ungranted), [])
            if batch and self._grant_new(batch, ledger):
                return NextRun.AT_ONCE if more or len(batch) < len(waiting) else NextRun.NONE
        if not waiting:
            return NextRun.NONE
        some = _as_many_as_a_batch_has(waiting)
        more |= len(some) < len(waiting)
        if _asked(some) <= BATCH_ADDRESSES:
            return NextRun.LATER if self._carry_out(some, ledger) else NextRun.AT_ONCE if more else NextRun.NONE

        def carry_out_large() -> NextRun:
            return NextRun.LATER if self._carry_out(some, ledger) or more else NextRun.NONE

        return turns.take_large(carry_out_large)

    def _is_new(self, job: Job) -> bool:
        """Return whether *job* may be granted addresses without being claimed."""
        return (
            _is_of_subnet(job)
            and job.claim is None
            and job.created_at in begun_within(NEW_FOR_S)
            and ReservationRequest.from_json(job.request).count <= BATCH_ADDRESSES
            and (job.reviewed or not self.admission.is_asked_about(job))
        )

    def _grant_new(self, jobs: Sequence[Job], ledger: Ledger) -> bool:
        """Carry out *jobs* that are not claimed; return False if they must be claimed first.

        Raises:
            WriteConflict: If the ledger was changed meanwhile; then nothing is held.
        """
        began = utc_now()
        try:
            outcome = self.granter.grant_unclaimed(jobs, ledger)
            if outcome is None:
                return False
            begun = {job.id: replace(job, started_at=began) for job in jobs}
            ended = self.roll_forward.finish(begun, outcome.ledgers, outcome.seen)
        except Exception as error:
            if passes(error):
                raise
            log.exception("a batch of %d new jobs failed, the first one being %s", len(jobs), jobs[0].id)
            return False
        self.dispatcher.publish_results(ended)
        return True

    def _carry_out(self, waiting: Sequence[Job], ledger: Ledger | None) -> bool:
        """Carry out those of *waiting*, jobs of one target, that this worker can claim.

        *ledger* is that of the target, if it is a subnet; it was read before them. Returns whether a release or a
        deletion among them is to go on later.
        """
        token, jobs = self.stores.jobs.claim(waiting, self.claim_timeout_s)
        if not jobs:
            return False
        try:
            requests = [job for job in jobs if job.kind is JobKind.RESERVATION]
            granted = ledger.granted if ledger else ()
            begun = [job for job in requests if job.decision is not None or job.id in granted]
            self._resume(begun)
            for batch in _batches(self._review(token, [job for job in requests if job not in begun])):
                _try(batch, partial(self._carry_out_batch, token, batch, ledger))
            unfinished = [job for job in jobs if job.kind is not JobKind.RESERVATION and self._go_on(job, token)]
            return bool(unfinished)
        except Transient:
            self.stores.jobs.disown([job.id for job in jobs], token)
            raise

    def _review(self, token: ObjectId, jobs: Sequence[Job]) -> Sequence[Job]:
        """Have hooks asked about *jobs*; returns those that need not be asked about any more.

        The others are held under the claim *token* meanwhile. They come again, with a message.
        """
        asked = [job for job in jobs if not job.reviewed and self.admission.is_asked_about(job)]

        def hear(answers: list[Job]) -> None:
            self.stores.jobs.save_reviews(answers, token)
            self.stores.jobs.disown([job.id for job in asked], token)
            self.dispatcher.dispatch(asked[0].target)

        if asked:
            _try(asked, partial(self.admission.review_requests, asked, hear))
        return [job for job in jobs if job not in asked]

    def _go_on(self, job: Job, token: ObjectId) -> bool:
        """Carry out a part of *job*, a release or a deletion; True if there is more to do."""
        more: list[bool] = []
        go_on = self.releaser.go_on if job.kind is JobKind.RELEASE else self.cascade_deleter.go_on
        _try([job], lambda: more.append(go_on(job, token)))
        if more == [False]:
            self.dispatcher.publish_results({job.id: None})
        return more == [True]

    def _resume(self, begun: Sequence[Job]) -> None:
        for job in begun:
            _try([job], partial(self._finish, job))
        if begun:
            self.dispatcher.publish_results(dict.fromkeys(job.id for job in begun))

    def _finish(self, job: Job) -> None:
        if job.failures < GIVE_UP_AFTER_FAILURES:
            self.roll_forward.finish({job.id: job}, self.roll_forward.ledgers_of(job))
        else:
            self.roll_forward.abandon(job, given_up())

    def _carry_out_batch(self, token: ObjectId, jobs: Sequence[Job], ledger: Ledger | None) -> None:
        if _is_of_subnet(jobs[0]):
            outcome = self.granter.grant_of_subnet(token, jobs, ledger)
        else:
            outcome = self.granter.grant_of_pool(token, jobs)
        self.stores.jobs.fail([(job, outcome.refused[job.id]) for job in jobs if job.id in outcome.refused], token)
        self.dispatcher.publish_results(dict.fromkeys(outcome.refused))
        wanted = {job.id: job for job in outcome.jobs if job.id not in outcome.refused}
        if not wanted:
            return
        if not _is_of_subnet(jobs[0]):
            decided = self.stores.jobs.decide(wanted, token)
            if len(decided) < len(wanted):
                # The claim has lapsed and other workers have the jobs; the addresses are withdrawn.
                self.granter.withdraw(token, outcome.ledgers, spare=decided)
            wanted = {id_: replace(wanted[id_], decision=token) for id_ in decided}
        self.dispatcher.publish_results(self.roll_forward.finish(wanted, outcome.ledgers, outcome.seen))


def _is_of_subnet(job: Job) -> bool:
    """Return whether *job* takes addresses from one subnet, the one that it names."""
    return job.kind is JobKind.RESERVATION and job.subnet is not None


def _try(jobs: Sequence[Job], carry_out: Callable[[], None]) -> None:
    """Keep a fault of our own with *jobs* from stopping those after them.

    They are tried again when their claim has run out.
    """
    try:
        carry_out()
    except Exception as error:
        if passes(error):
            raise
        log.exception("a batch of %d jobs failed, the first one being %s", len(jobs), jobs[0].id)


def _as_many_as_a_batch_has(jobs: Sequence[Job]) -> Sequence[Job]:
    """Return the first of *jobs* that ask for no more addresses together than a batch has; one at least."""
    addresses = 0
    for place, job in enumerate(jobs):
        addresses += _asked([job])
        if place and addresses > BATCH_ADDRESSES:
            return jobs[:place]
    return jobs


def _asked(jobs: Sequence[Job]) -> int:
    """Return how many addresses *jobs* ask for; releases and deletions, which are done in parts, ask for none."""
    return sum(job.request["count"] for job in jobs if job.kind is JobKind.RESERVATION)


def _batches(jobs: Sequence[Job]) -> Iterator[list[Job]]:
    """Yield *jobs* in order, cut so that only a single large one asks for more than `BATCH_ADDRESSES`.

    Those that have failed before come last, each alone.
    """
    batch: list[Job] = []
    addresses = 0
    for job in (job for job in jobs if job.failures < ALONE_AFTER_FAILURES):
        count = ReservationRequest.from_json(job.request).count
        if batch and addresses + count > BATCH_ADDRESSES:
            yield batch
            batch, addresses = [], 0
        batch.append(job)
        addresses += count
    if batch:
        yield batch
    yield from ([job] for job in jobs if job.failures >= ALONE_AFTER_FAILURES)
