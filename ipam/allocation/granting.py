"""Taking addresses for jobs, in the ledgers of subnets."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from bson import ObjectId

from ipam.allocation.entry_applier import Blocks
from ipam.allocation.planner import SubnetPlan
from ipam.allocation.roll_forward import RollForward
from ipam.allocation.selection import select_addresses
from ipam.allocation.subnet_closing import open_ledger
from ipam.errors import NotFound, Rejected, RetriesExhausted, WriteConflict
from ipam.models.fields import Bson
from ipam.models.job import Job
from ipam.models.ledger import Ledger
from ipam.models.reservation_request import ReservationRequest
from ipam.storage.stores import Stores
from ipam.util.clock import utc_now
from ipam.util.retry import retry_on_conflict

# A job that has failed so often is given up.
GIVE_UP_AFTER_FAILURES = 10


@dataclass(frozen=True, slots=True)
class GrantResult:
    """The result of an attempt to grant addresses to *jobs*.

    Attributes:
        refused: Why jobs get none.
        ledgers: With the grants of the others.
        seen: The blocks of their subnets as they were before.
    """

    jobs: Sequence[Job]
    refused: Mapping[ObjectId, Bson]
    ledgers: Sequence[Ledger] = ()
    seen: Mapping[ObjectId, Blocks] = field(default_factory=dict)


class Granter:
    """Grants jobs addresses; what is granted is still to be carried out."""

    def __init__(self, stores: Stores, roll_forward: RollForward) -> None:
        self._stores = stores
        self._roll_forward = roll_forward

    def grant_unclaimed(self, jobs: Sequence[Job], ledger: Ledger) -> GrantResult | None:
        """Take addresses for *jobs* in *ledger*, which was read before they were; None if one would be refused.

        They are not claimed. To be refused they must be, so that no other worker grants them addresses meanwhile.

        Raises:
            WriteConflict: If the ledger was changed meanwhile; then nothing is held.
        """
        plans, refused = self._plan(None, jobs, [ledger])
        return None if refused else self._outcome(None, jobs, {}, plans)

    def grant_of_subnet(self, token: ObjectId, jobs: Sequence[Job], ledger: Ledger | None) -> GrantResult:
        """Take addresses for *jobs* of one subnet in its *ledger*, which was read before they were claimed.

        *token* is their claim. Grants count as they stand, so a job must not get a second one. After a lost race
        the ledger is read again, and then which of the jobs are claimed still: one whose claim ran out may have got
        its grant meanwhile.
        """

        def anew() -> GrantResult:
            found = self._stores.ledgers.find(jobs[0].target)
            granted = found.granted if found else ()
            mine = self._stores.jobs.claimed([job.id for job in jobs if job.id not in granted], token)
            return self._grant(None, mine, lambda: [self._open(jobs[0].target, found)])

        try:
            return self._grant(None, jobs, lambda: [self._open(jobs[0].target, ledger)])
        except WriteConflict:
            return retry_on_conflict(anew)

    def grant_of_pool(self, token: ObjectId, jobs: Sequence[Job]) -> GrantResult:
        """Take addresses for *jobs*, which have the claim *token*, from their pool; they count when decided."""

        def ledgers() -> Sequence[Ledger]:
            self._stores.pools.get(jobs[0].pool)
            # One that is closed gives nothing, whether its subnet is hidden in the end or not.
            return self._stores.ledgers.of_pool(jobs[0].pool)

        return retry_on_conflict(lambda: self._grant(token, jobs, ledgers))

    def withdraw(self, batch: ObjectId | None, ledgers: Sequence[Ledger], spare: Collection[ObjectId] = ()) -> None:
        """Give back what *ledgers* have granted in the name of *batch*, but for the jobs to *spare*."""
        for ledger in ledgers:
            for grant in ledger.grants:
                if grant.batch == batch and grant.job not in spare:
                    self._stores.ledgers.withdraw_grant(ledger.id, grant)

    def _open(self, subnet: ObjectId, ledger: Ledger | None) -> Ledger:
        found = open_ledger(self._stores, subnet, ledger)
        if found is None:
            raise self._stores.subnets.missing(subnet)
        return found

    def _grant(
        self, batch: ObjectId | None, jobs: Sequence[Job], ledgers_offered: Callable[[], Sequence[Ledger]]
    ) -> GrantResult:
        """Take addresses for *jobs*, in the name of *batch* as grants have it.

        Raises:
            WriteConflict: If a ledger was changed meanwhile; then nothing is held.
        """
        try:
            ledgers = ledgers_offered()
        except NotFound as missing:
            return GrantResult(jobs, {job.id: missing.to_record() for job in jobs})
        plans, refused = self._plan(batch, jobs, ledgers)
        if refused and any([self._roll_forward.settle(ledger) for ledger in ledgers]):  # noqa: C419 (settle all)
            raise WriteConflict("Addresses came back that were on their way.")
        # A worker that refuses a job of one subnet writes the ledger, though with no grant: so no slower one makes
        # one.
        written = plans if refused and batch is None else [plan for plan in plans if plan.grants]
        return self._outcome(batch, jobs, refused, written)

    def _outcome(
        self,
        batch: ObjectId | None,
        jobs: Sequence[Job],
        refused: Mapping[ObjectId, Bson],
        plans: Sequence[SubnetPlan],
    ) -> GrantResult:
        seen = {plan.ledger.id: plan.blocks for plan in plans}
        return GrantResult(jobs, refused, self._commit(batch, plans), seen)

    def _plan(
        self, batch: ObjectId | None, jobs: Sequence[Job], ledgers: Sequence[Ledger]
    ) -> tuple[list[SubnetPlan], dict[ObjectId, Bson]]:
        now, read = utc_now(), self._stores.blocks.read
        plans = [SubnetPlan(ledger, partial(read, ledger.id), batch, now) for ledger in ledgers]
        refused: dict[ObjectId, Bson] = {}
        for job in jobs:
            if job.failures >= GIVE_UP_AFTER_FAILURES or job.refused is not None:
                refused[job.id] = job.refused or given_up().to_record()
                continue
            try:
                chosen = select_addresses(ReservationRequest.from_json(job.request), plans)
            except Rejected as error:
                refused[job.id] = error.to_record()
                continue
            for plan, pick in chosen:
                plan.take(job.id, job.reservation, pick)
        return plans, refused

    def _commit(self, batch: ObjectId | None, plans: Sequence[SubnetPlan]) -> list[Ledger]:
        granted: list[Ledger] = []
        try:
            for plan in plans:
                granted.append(  # noqa: PERF401 (what was granted before one fails must be known)
                    self._stores.ledgers.write(plan.ledger)
                )
        except WriteConflict:
            self.withdraw(batch, granted)
            raise
        return granted


def given_up() -> RetriesExhausted:
    """Why a job ends that has failed too often."""
    return RetriesExhausted(f"The job was tried {GIVE_UP_AFTER_FAILURES} times and failed each time.")
