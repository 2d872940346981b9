"""Jobs: reservation requests are accepted by the API, and carried out by workers, as are large releases."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace
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
from ipam.errors import Contended, GivenUp, NotFound, Refused, Rejected, Transient
from ipam.models.documents import Job, JobKind, Subnet, utc_now
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
        """Carry out the waiting jobs of a subnet or pool until nobody's are left; or a part of a release.

        Raises:
            Transient: If the database went away; what was begun will be finished by the next call.
        """
        while True:
            token, jobs = self._stores.jobs.claim(target, BATCH_JOBS, self._claim_timeout_s)
            if not jobs:
                return
            try:
                if jobs[0].kind is JobKind.RELEASE:
                    _try(jobs, partial(self._go_on, jobs[0], token))
                    return
                self._resume([job for job in jobs if job.decision is not None])
                undecided = [job for job in jobs if job.decision is None]
                self._give_up(token, [job for job in undecided if job.failures >= GIVE_UP_AFTER_FAILURES])
                hopeful = [job for job in undecided if job.failures < GIVE_UP_AFTER_FAILURES]
                for batch in _batches(self._consult(token, hopeful)):
                    _try(batch, partial(self._carry_out_batch, token, batch))
            except Transient:
                self._stores.jobs.disown([job.id for job in jobs], token)
                raise

    def _consult(self, token: ObjectId, jobs: Sequence[Job]) -> Sequence[Job]:
        """Have hooks asked about *jobs*; returns those that need not be asked about any more.

        The others are held under the claim *token* meanwhile. Those that are allowed come again, with a message.
        """
        asked = [job for job in jobs if not job.consulted and self._consulting.is_asked_about(job)]

        def hear(answers: list[Job | Refused]) -> None:
            both = zip(asked, answers, strict=True)
            refused = [(job, answer.to_record()) for job, answer in both if isinstance(answer, Refused)]
            self._stores.jobs.fail(refused, token)
            self._stores.jobs.consulted([answer for answer in answers if isinstance(answer, Job)], token)
            self._dispatcher.dispatch(asked[0].target)

        if asked:
            _try(asked, partial(self._consulting.reserve, asked, hear))
        return [job for job in jobs if job not in asked]

    def _go_on(self, release: Job, token: ObjectId) -> None:
        if self._releasing.go_on(release, token):
            self._dispatcher.dispatch(release.target)  # Behind what waits already.

    def _resume(self, decided: Sequence[Job]) -> None:
        for job in decided:
            _try([job], partial(self._finish, job))

    def _finish(self, job: Job) -> None:
        if job.failures < GIVE_UP_AFTER_FAILURES:
            self._settling.finish({job.id: job}, self._settling.subnets_of(job))
        else:
            self._settling.abandon(job, _given_up())

    def _give_up(self, token: ObjectId, jobs: Sequence[Job]) -> None:
        self._stores.jobs.fail([(job, _given_up().to_record()) for job in jobs], token)

    def _carry_out_batch(self, token: ObjectId, jobs: Sequence[Job]) -> None:
        granted, seen, refused = retry_contended(lambda: self._grant(token, jobs))
        self._stores.jobs.fail([(job, refused[job.id].to_record()) for job in jobs if job.id in refused], token)
        wanted = {job.id: job for job in jobs if job.id not in refused}
        decided = self._stores.jobs.decide(wanted, token)
        self._settling.finish({id_: replace(wanted[id_], decision=token) for id_ in decided}, granted, seen)
        if len(decided) < len(wanted):
            # The claim ran out and the jobs are someone else's now: so are not the addresses.
            self._withdraw(token, granted, spare=decided)

    def _grant(
        self, token: ObjectId, jobs: Sequence[Job]
    ) -> tuple[list[Subnet], dict[ObjectId, Blocks], dict[ObjectId, Rejected]]:
        """Take addresses for *jobs*.

        Returns the subnets with the grants in them, their blocks as they were before, and why jobs get none.

        Raises:
            Contended: If a ledger was changed by someone else meanwhile; then nothing is held.
        """
        try:
            subnets = self._candidates(jobs[0])
        except NotFound as missing:
            return [], {}, {job.id: missing for job in jobs}
        plans, refused = self._plan(token, jobs, subnets)
        if refused and any([self._settling.settle(subnet) for subnet in subnets]):  # noqa: C419 (settle all)
            raise Contended("Addresses came back that were on their way.")
        return self._commit(token, plans), {plan.subnet.id: plan.blocks for plan in plans}, refused

    def _candidates(self, job: Job) -> list[Subnet]:
        """The subnets that the target of *job* offers. Raises NotFound when the target is gone."""
        if job.subnet is not None:
            return [self._stores.subnets.get(job.subnet)]
        self._stores.pools.get(job.pool)
        return self._stores.subnets.of_pool(job.pool)

    def _plan(
        self, token: ObjectId, jobs: Sequence[Job], subnets: Sequence[Subnet]
    ) -> tuple[list[Plan], dict[ObjectId, Rejected]]:
        now, read = utc_now(), self._stores.blocks.read
        plans = [Plan(subnet, space_of(subnet), partial(read, subnet.id), token, now) for subnet in subnets]
        refused: dict[ObjectId, Rejected] = {}
        for job in jobs:
            try:
                chosen = choose(ReservationRequest.from_json(job.request), plans)
            except Rejected as error:
                refused[job.id] = error
                continue
            for plan, pick in chosen:
                plan.take(job.id, job.reservation, pick)
        return [plan for plan in plans if plan.grants], refused

    def _commit(self, token: ObjectId, plans: Sequence[Plan]) -> list[Subnet]:
        granted: list[Subnet] = []
        try:
            for plan in plans:
                granted.append(  # noqa: PERF401 (what was granted before one fails must be known)
                    self._stores.subnets.change_ledger(plan.subnet, plan.ledger)
                )
        except Contended:
            self._withdraw(token, granted)
            raise
        return granted

    def _withdraw(self, token: ObjectId, subnets: Sequence[Subnet], spare: Collection[ObjectId] = ()) -> None:
        for subnet in subnets:
            for grant in subnet.ledger.grants:
                if grant.batch == token and grant.job not in spare:
                    self._stores.subnets.withdraw_grant(subnet.id, grant)


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
