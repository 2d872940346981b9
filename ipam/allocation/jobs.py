"""Jobs: reservation requests are accepted by the API, and carried out by workers, as are large releases."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from bson import ObjectId

from ipam.allocation.choosing import choose
from ipam.allocation.consulting import Consulting
from ipam.allocation.dispatcher import Dispatcher
from ipam.allocation.leasing import Blocks, space_of
from ipam.allocation.planning import Plan
from ipam.allocation.releasing import Releasing
from ipam.allocation.requests import ReservationRequest
from ipam.allocation.settling import Settling
from ipam.errors import Contended, GivenUp, NotFound, Rejected, Transient
from ipam.models.documents import Bson, Job, JobKind, Subnet, SubnetState, utc_now
from ipam.models.stores import Stores
from ipam.retrying import retry_contended

log = logging.getLogger(__name__)

# Jobs claimed at once, and addresses taken at once: large enough that the ledger's write is shared by many,
# small enough that a batch is over long before its claim runs out.
BATCH_JOBS = 200
BATCH_ADDRESSES = 4096
# A job that has failed so often may be what makes workers fail: first it gets a batch of its own, so that no other
# job fails with it, then it is given up.
ALONE_AFTER_FAILURES = 3
GIVE_UP_AFTER_FAILURES = 10


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of the attempt to take addresses for *jobs*.

    Attributes:
        refused: Why jobs get none.
        subnets: With the grants of the others.
        seen: Their blocks as they were before.
    """

    jobs: Sequence[Job]
    refused: Mapping[ObjectId, Bson]
    subnets: Sequence[Subnet] = ()
    seen: Mapping[ObjectId, Blocks] = field(default_factory=dict)


class Jobs:
    """Accepts reservation requests and carries them out; and releases that take long."""

    def __init__(  # noqa: PLR0913 (wiring)
        self,
        stores: Stores,
        settling: Settling,
        releasing: Releasing,
        dispatcher: Dispatcher,
        consulting: Consulting,
        *,
        claim_timeout_s: float,
    ) -> None:
        self._stores = stores
        self._consulting = consulting
        self._settling = settling
        self._releasing = releasing
        self._dispatcher = dispatcher
        self._claim_timeout_s = claim_timeout_s

    def request_from_subnet(self, id_: ObjectId, subnet: ObjectId, request: ReservationRequest) -> Job:
        """Accept *request* for addresses of *subnet* as the job *id_*; to do so twice changes nothing.

        Raises:
            NotFound: If there is no such subnet.
        """
        pool = self._stores.subnets.get(subnet).pool
        return self._accept(id_, subnet, pool, subnet, request)

    def request_from_pool(self, id_: ObjectId, pool: ObjectId, request: ReservationRequest) -> Job:
        """Accept *request* for addresses of any subnet of *pool* as the job *id_*; twice changes nothing.

        Raises:
            NotFound: If there is no such pool.
        """
        self._stores.pools.get(pool)
        return self._accept(id_, pool, pool, None, request)

    def _accept(
        self, id_: ObjectId, target: ObjectId, pool: ObjectId, subnet: ObjectId | None, request: ReservationRequest
    ) -> Job:
        job = Job(
            id=id_,
            kind=JobKind.RESERVATION,
            target=target,
            pool=pool,
            subnet=subnet,
            request=request.to_json(),
            reservation=ObjectId(),
        )
        self._stores.jobs.insert(job)
        self._dispatcher.dispatch(target)
        return job

    def carry_out(self, target: ObjectId) -> None:
        """Carry out the waiting jobs of a subnet or pool; or a part of a release.

        Raises:
            Transient: If the database went away; what was begun will be finished by the next call.
        """
        more = True
        while more:
            waiting = self._stores.jobs.waiting(target, BATCH_JOBS)
            more = len(waiting) == BATCH_JOBS  # What comes later has messages of its own.
            if waiting:
                self._carry_out(waiting)

    def _carry_out(self, waiting: Sequence[Job]) -> None:
        """Carry out those of *waiting*, jobs of one target, that nobody else is quicker to claim."""
        # The ledger is read before the jobs are claimed. So a job without a grant in it has had none: a grant goes
        # when its job is closed, not earlier, and what is closed cannot be claimed.
        subnet = self._stores.subnets.find(waiting[0].target) if _is_of_subnet(waiting[0]) else None
        token, jobs = self._stores.jobs.claim(waiting, self._claim_timeout_s)
        if not jobs:
            return
        try:
            if jobs[0].kind is JobKind.RELEASE:
                _try(jobs, partial(self._go_on, jobs[0], token))
                return
            granted = subnet.ledger.granted if subnet else ()
            begun = [job for job in jobs if job.decision is not None or job.id in granted]
            self._resume(begun)
            for batch in _batches(self._consult(token, [job for job in jobs if job not in begun])):
                _try(batch, partial(self._carry_out_batch, token, batch, subnet))
                self._dispatcher.announce([job.id for job in batch])
        except Transient:
            self._stores.jobs.disown([job.id for job in jobs], token)
            raise

    def _consult(self, token: ObjectId, jobs: Sequence[Job]) -> Sequence[Job]:
        """Have hooks asked about *jobs*; returns those that need not be asked about any more.

        The others are held under the claim *token* meanwhile. They come again, with a message.
        """
        asked = [job for job in jobs if not job.consulted and self._consulting.is_asked_about(job)]

        def hear(answers: list[Job]) -> None:
            self._stores.jobs.consulted(answers, token)
            self._stores.jobs.disown([job.id for job in asked], token)
            self._dispatcher.dispatch(asked[0].target)

        if asked:
            _try(asked, partial(self._consulting.reserve, asked, hear))
        return [job for job in jobs if job not in asked]

    def _go_on(self, release: Job, token: ObjectId) -> None:
        if self._releasing.go_on(release, token):
            self._dispatcher.dispatch(release.target)  # Behind what waits already.
        else:
            self._dispatcher.announce([release.id])

    def _resume(self, begun: Sequence[Job]) -> None:
        for job in begun:
            _try([job], partial(self._finish, job))
        if begun:
            self._dispatcher.announce([job.id for job in begun])

    def _finish(self, job: Job) -> None:
        if job.failures < GIVE_UP_AFTER_FAILURES:
            self._settling.finish({job.id: job}, self._settling.subnets_of(job))
        else:
            self._settling.abandon(job, _given_up())

    def _carry_out_batch(self, token: ObjectId, jobs: Sequence[Job], subnet: Subnet | None) -> None:
        if _is_of_subnet(jobs[0]):
            outcome = self._grant_of_subnet(token, jobs, subnet)
        else:
            outcome = retry_contended(
                lambda: self._grant(token, jobs, partial(self._subnets_of_pool, jobs[0].pool))
            )
        self._stores.jobs.fail([(job, outcome.refused[job.id]) for job in jobs if job.id in outcome.refused], token)
        wanted = {job.id: job for job in outcome.jobs if job.id not in outcome.refused}
        if not wanted:
            return
        if not _is_of_subnet(jobs[0]):
            decided = self._stores.jobs.decide(wanted, token)
            if len(decided) < len(wanted):
                # The claim ran out and the jobs are someone else's now: so are not the addresses.
                self._withdraw(token, outcome.subnets, spare=decided)
            wanted = {id_: replace(wanted[id_], decision=token) for id_ in decided}
        self._settling.finish(wanted, outcome.subnets, outcome.seen)

    def _grant_of_subnet(self, token: ObjectId, jobs: Sequence[Job], subnet: Subnet | None) -> Outcome:
        """Take addresses for *jobs* from their *subnet*, which was read before they were claimed.

        Grants count as they stand, so a job must not get a second one. After a lost race the ledger is read again,
        and then which of the jobs are claimed still: one whose claim ran out may have got its grant meanwhile.
        """

        def anew() -> Outcome:
            found = self._stores.subnets.find(jobs[0].target)
            granted = found.ledger.granted if found else ()
            mine = self._stores.jobs.claimed([job.id for job in jobs if job.id not in granted], token)
            return self._grant(None, mine, lambda: [_active(jobs[0].target, found)])

        try:
            return self._grant(None, jobs, lambda: [_active(jobs[0].target, subnet)])
        except Contended:
            return retry_contended(anew)

    def _grant(
        self, batch: ObjectId | None, jobs: Sequence[Job], subnets_offered: Callable[[], Sequence[Subnet]]
    ) -> Outcome:
        """Take addresses for *jobs*, in the name of *batch* as grants have it.

        Raises:
            Contended: If a ledger was changed by someone else meanwhile; then nothing is held.
        """
        try:
            subnets = subnets_offered()
        except NotFound as missing:
            return Outcome(jobs, {job.id: missing.to_record() for job in jobs})
        plans, refused = self._plan(batch, jobs, subnets)
        if refused and any([self._settling.settle(subnet) for subnet in subnets]):  # noqa: C419 (settle all)
            raise Contended("Addresses came back that were on their way.")
        # Who refuses a job of one subnet writes the ledger, though with no grant: so nobody who is late makes one.
        written = plans if refused and batch is None else [plan for plan in plans if plan.grants]
        seen = {plan.subnet.id: plan.blocks for plan in written}
        return Outcome(jobs, refused, self._commit(batch, written), seen)

    def _subnets_of_pool(self, pool: ObjectId) -> Sequence[Subnet]:
        """The subnets that *pool* offers. Raises NotFound when it is gone."""
        self._stores.pools.get(pool)
        return self._stores.subnets.of_pool(pool)

    def _plan(
        self, batch: ObjectId | None, jobs: Sequence[Job], subnets: Sequence[Subnet]
    ) -> tuple[list[Plan], dict[ObjectId, Bson]]:
        now, read = utc_now(), self._stores.blocks.read
        plans = [Plan(subnet, space_of(subnet), partial(read, subnet.id), batch, now) for subnet in subnets]
        refused: dict[ObjectId, Bson] = {}
        for job in jobs:
            if job.failures >= GIVE_UP_AFTER_FAILURES or job.refused is not None:
                refused[job.id] = job.refused or _given_up().to_record()
                continue
            try:
                chosen = choose(ReservationRequest.from_json(job.request), plans)
            except Rejected as error:
                refused[job.id] = error.to_record()
                continue
            for plan, pick in chosen:
                plan.take(job.id, job.reservation, pick)
        return plans, refused

    def _commit(self, batch: ObjectId | None, plans: Sequence[Plan]) -> list[Subnet]:
        granted: list[Subnet] = []
        try:
            for plan in plans:
                granted.append(  # noqa: PERF401 (what was granted before one fails must be known)
                    self._stores.subnets.change_ledger(plan.subnet, plan.ledger)
                )
        except Contended:
            self._withdraw(batch, granted)
            raise
        return granted

    def _withdraw(
        self, batch: ObjectId | None, subnets: Sequence[Subnet], spare: Collection[ObjectId] = ()
    ) -> None:
        for subnet in subnets:
            for grant in subnet.ledger.grants:
                if grant.batch == batch and grant.job not in spare:
                    self._stores.subnets.withdraw_grant(subnet.id, grant)


def _is_of_subnet(job: Job) -> bool:
    """Whether *job* takes addresses from one subnet, the one that it names."""
    return job.kind is JobKind.RESERVATION and job.subnet is not None


def _active(id_: ObjectId, subnet: Subnet | None) -> Subnet:
    if subnet is None or subnet.state is not SubnetState.ACTIVE:
        raise NotFound(f"There is no subnet {id_}.")
    return subnet


def _given_up() -> GivenUp:
    return GivenUp(f"The job was tried {GIVE_UP_AFTER_FAILURES} times and failed each time.")


def _try(jobs: Sequence[Job], carry_out: Callable[[], None]) -> None:
    """Keep a fault of our own with *jobs* from stopping those after them.

    They are tried again when their claim has run out.
    """
    try:
        carry_out()
    except Transient:
        raise
    except Exception:
        log.exception("a batch of %d jobs failed, the first one being %s", len(jobs), jobs[0].id)


def _batches(jobs: Sequence[Job]) -> Iterator[list[Job]]:
    """*jobs* in order, cut so that only a single large one asks for more than `BATCH_ADDRESSES`.

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
