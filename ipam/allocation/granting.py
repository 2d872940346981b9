"""Taking addresses for jobs, in the ledgers of subnets."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from bson import ObjectId

from ipam.allocation.entry_applier import Blocks, space_of
from ipam.allocation.planner import SubnetPlan
from ipam.allocation.roll_forward import RollForward
from ipam.allocation.selection import select_addresses
from ipam.errors import NotFound, Rejected, RetriesExhausted, WriteConflict
from ipam.models.fields import Bson
from ipam.models.job import Job
from ipam.models.reservation_request import ReservationRequest
from ipam.models.subnet import Subnet, SubnetState
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
        subnets: With the grants of the others.
        seen: Their blocks as they were before.
    """

    jobs: Sequence[Job]
    refused: Mapping[ObjectId, Bson]
    subnets: Sequence[Subnet] = ()
    seen: Mapping[ObjectId, Blocks] = field(default_factory=dict)


class Granter:
    """Grants jobs addresses; what is granted is still to be carried out."""

    def __init__(self, stores: Stores, roll_forward: RollForward) -> None:
        self._stores = stores
        self._roll_forward = roll_forward

    def grant_unclaimed(self, jobs: Sequence[Job], subnet: Subnet) -> GrantResult | None:
        """Take addresses for *jobs* of *subnet*, which was read before they were; None if one would be refused.

        They are not claimed. To be refused they must be, so that no other worker grants them addresses meanwhile.

        Raises:
            WriteConflict: If the ledger was changed meanwhile; then nothing is held.
        """
        plans, refused = self._plan(None, jobs, [subnet])
        return None if refused else self._outcome(None, jobs, {}, plans)

    def grant_of_subnet(self, token: ObjectId, jobs: Sequence[Job], subnet: Subnet | None) -> GrantResult:
        """Take addresses for *jobs* from their *subnet*, which was read before they were claimed.

        *token* is their claim. Grants count as they stand, so a job must not get a second one. After a lost race
        the ledger is read again, and then which of the jobs are claimed still: one whose claim ran out may have got
        its grant meanwhile.
        """

        def anew() -> GrantResult:
            found = self._stores.subnets.find(jobs[0].target)
            granted = found.ledger.granted if found else ()
            mine = self._stores.jobs.claimed([job.id for job in jobs if job.id not in granted], token)
            return self._grant(None, mine, lambda: [_active(jobs[0].target, found)])

        try:
            return self._grant(None, jobs, lambda: [_active(jobs[0].target, subnet)])
        except WriteConflict:
            return retry_on_conflict(anew)

    def grant_of_pool(self, token: ObjectId, jobs: Sequence[Job]) -> GrantResult:
        """Take addresses for *jobs*, which have the claim *token*, from their pool; they count when decided."""

        def subnets() -> Sequence[Subnet]:
            self._stores.pools.get(jobs[0].pool)
            return self._stores.subnets.of_pool(jobs[0].pool)

        return retry_on_conflict(lambda: self._grant(token, jobs, subnets))

    def withdraw(self, batch: ObjectId | None, subnets: Sequence[Subnet], spare: Collection[ObjectId] = ()) -> None:
        """Give back what *subnets* have granted in the name of *batch*, but for the jobs to *spare*."""
        for subnet in subnets:
            for grant in subnet.ledger.grants:
                if grant.batch == batch and grant.job not in spare:
                    self._stores.subnets.withdraw_grant(subnet.id, grant)

    def _grant(
        self, batch: ObjectId | None, jobs: Sequence[Job], subnets_offered: Callable[[], Sequence[Subnet]]
    ) -> GrantResult:
        """Take addresses for *jobs*, in the name of *batch* as grants have it.

        Raises:
            WriteConflict: If a ledger was changed meanwhile; then nothing is held.
        """
        try:
            subnets = subnets_offered()
        except NotFound as missing:
            return GrantResult(jobs, {job.id: missing.to_record() for job in jobs})
        plans, refused = self._plan(batch, jobs, subnets)
        if refused and any([self._roll_forward.settle(subnet) for subnet in subnets]):  # noqa: C419 (settle all)
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
        seen = {plan.subnet.id: plan.blocks for plan in plans}
        return GrantResult(jobs, refused, self._commit(batch, plans), seen)

    def _plan(
        self, batch: ObjectId | None, jobs: Sequence[Job], subnets: Sequence[Subnet]
    ) -> tuple[list[SubnetPlan], dict[ObjectId, Bson]]:
        now, read = utc_now(), self._stores.blocks.read
        plans = [SubnetPlan(subnet, space_of(subnet), partial(read, subnet.id), batch, now) for subnet in subnets]
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

    def _commit(self, batch: ObjectId | None, plans: Sequence[SubnetPlan]) -> list[Subnet]:
        granted: list[Subnet] = []
        try:
            for plan in plans:
                granted.append(  # noqa: PERF401 (what was granted before one fails must be known)
                    self._stores.subnets.change_ledger(plan.subnet, plan.ledger)
                )
        except WriteConflict:
            self.withdraw(batch, granted)
            raise
        return granted


def given_up() -> RetriesExhausted:
    """Why a job ends that has failed too often."""
    return RetriesExhausted(f"The job was tried {GIVE_UP_AFTER_FAILURES} times and failed each time.")


def _active(id_: ObjectId, subnet: Subnet | None) -> Subnet:
    if subnet is None or subnet.state is not SubnetState.ACTIVE:
        raise NotFound(f"There is no subnet {id_}.")
    return subnet
