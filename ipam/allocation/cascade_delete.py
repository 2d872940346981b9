"""Cascading delete of pools and subnets with all that is in them; if that is much, by a job, in parts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from functools import partial

from bson import ObjectId
from pyroaring import FrozenBitMap

from ipam.allocation.dispatcher import Dispatcher
from ipam.allocation.entry_applier import RELEASED_AT_ONCE
from ipam.allocation.roll_forward import RollForward
from ipam.allocation.subnet_closing import hide_subnet
from ipam.errors import NotFound
from ipam.hooks.admission import AdmissionController
from ipam.models.address_set import AddressSet
from ipam.models.audit_context import AuditContext, use_audit_context
from ipam.models.job import Job, JobKind
from ipam.models.subnet import Subnet, SubnetState
from ipam.storage.bulk_writes import Writes
from ipam.storage.stores import Stores

# What has so many addresses to give back is deleted while the caller waits; what has more, by a job.
DELETED_WITHOUT_JOB = 256
# A subnet in a pool that is deleted takes about as long as so many addresses.
_SUBNET_WEIGHS = 10
# Reservations that are counted anew without a look at whether others wait.
_RECOUNTED_AT_ONCE = 64
# Steps that take none or few addresses back and make up a part together.
_STEPS_AT_ONCE = 8


class CascadeDeleter:
    """Hides pools and subnets, and sweeps what is in them.

    What is left shows how far a sweep has come: any process continues there, and two may do so at once.
    """

    def __init__(
        self, stores: Stores, roll_forward: RollForward, dispatcher: Dispatcher, admission: AdmissionController
    ) -> None:
        self._stores = stores
        self._roll_forward = roll_forward
        self._dispatcher = dispatcher
        self._admission = admission

    def delete_subnet(
        self, id_: ObjectId, revisions: frozenset[int] | None = None, *, cascade: bool = True
    ) -> Job | None:
        """Delete a subnet with its reservations and leases; the job that does it, if they are many.

        Raises:
            NotFound: If there is no such subnet.
            Stale: If its revision is not among *revisions*, None accepting any.
            NotEmpty: If *cascade* is false and addresses of it are taken.
            RejectedByHook: If a hook does not allow it.
        """
        begin = partial(hide_subnet, self._stores, id_, only_empty=not cascade)
        self._admission.review_deletion(self._stores.subnets, id_, revisions, begin)
        return self.finish_subnet(id_)

    def delete_pool(
        self, id_: ObjectId, revisions: frozenset[int] | None = None, *, cascade: bool = True
    ) -> Job | None:
        """Delete a pool with all that is in it; the job that does it, if that is much.

        Raises:
            NotFound: If there is no such pool.
            Stale: If its revision is not among *revisions*, None accepting any.
            NotEmpty: If *cascade* is false and it has subnets.
            RejectedByHook: If a hook does not allow it; it is not asked about what goes with the pool.
        """

        def begin(accepted: frozenset[int] | None) -> None:
            if not cascade:  # What a deleted subnet may still hold does not count; the first that is there decides.
                for subnet in self._stores.pools.holders(id_):
                    if not self.drop_if_deleted(id_, subnet):
                        break
            self._stores.pools.begin_delete(id_, accepted, only_empty=not cascade)

        self._admission.review_deletion(self._stores.pools, id_, revisions, begin)
        return self.finish_pool(id_)

    def finish_subnet(self, id_: ObjectId) -> Job | None:
        """Carry the deletion of a hidden subnet to its end, or have it done by a job, which it returns."""
        subnet, used = self._hidden(id_), self._stores.ledgers.used([id_])[id_]
        if subnet is not None and used > DELETED_WITHOUT_JOB:
            return self._begin_job(id_, subnet.pool, id_, used, subnet.deleted_by)
        self.sweep_subnet(id_)
        return None

    def finish_pool(self, id_: ObjectId) -> Job | None:
        """Carry the deletion of a hidden pool to its end, or have it done by a job, which it returns."""
        used = self._stores.ledgers.used(self._stores.pools.holders(id_))
        count = sum(used.values())
        if count + _SUBNET_WEIGHS * len(used) > DELETED_WITHOUT_JOB:
            return self._begin_job(id_, id_, None, count, self._stores.pools.deleted_by(id_))
        for _ in self._sweep_pool(id_):
            pass
        return None

    def go_on(self, job: Job, token: ObjectId) -> bool:
        """Carry out a part of *job*, which has the claim *token*; True if there is more to do."""
        done = 0
        sweep = self._sweep_pool(job.pool) if job.subnet is None else self._sweep_subnet(job.subnet)
        for step, taken_back in enumerate(sweep, 1):
            done += taken_back
            if step == _STEPS_AT_ONCE or done >= RELEASED_AT_ONCE:
                self._stores.jobs.give_turn(replace(job, done=job.done + done), token)
                return True
        self._stores.jobs.finish(job.id)
        return False

    def sweep_subnet(self, id_: ObjectId) -> None:
        """Remove what hangs on a hidden subnet; may be repeated."""
        for _ in self._sweep_subnet(id_):
            pass

    def drop_if_deleted(self, pool: ObjectId, subnet_id: ObjectId) -> bool:
        """Take the range of a deleted subnet back, which is swept before; False if the subnet is not deleted.

        A creation that slept can have got the range after the deletion.
        """
        subnet = self._stores.subnets.find(subnet_id)
        if subnet is not None and subnet.state in (SubnetState.CREATING, SubnetState.ACTIVE):
            return False
        self.sweep_subnet(subnet_id)
        self._stores.pools.drop_range(pool, subnet_id)
        return True

    def _begin_job(
        self, id_: ObjectId, pool: ObjectId, subnet: ObjectId | None, count: int, audit_context: AuditContext
    ) -> Job:
        """Return a job with the id of what is deleted: there is one, however often it is asked for."""
        job = Job(
            id=id_,
            kind=JobKind.DELETION,
            target=id_,
            pool=pool,
            subnet=subnet,
            request={"count": count},
            reservation=id_,
            audit_context=audit_context,
        )
        self._stores.jobs.insert(job)
        self._dispatcher.dispatch(id_)
        return job

    def _hidden(self, id_: ObjectId) -> Subnet | None:
        subnet = self._stores.subnets.find(id_)
        return subnet if subnet is not None and subnet.state is SubnetState.DELETING else None

    def _sweep_pool(self, id_: ObjectId) -> Iterator[int]:
        """Remove what is in a hidden pool, then the pool; after each step, how many addresses were taken back.

        No subnet gets a range in it any more, so those that hold one are all that is left to remove.
        """
        audit_context = self._stores.pools.deleted_by(id_)
        for subnet in self._stores.pools.holders(id_):
            with use_audit_context(audit_context):
                self._stores.subnets.drop_unborn(subnet)
                with suppress(NotFound):
                    hide_subnet(self._stores, subnet, None, only_empty=False)
            yield from self._sweep_subnet(subnet)
            self._stores.pools.drop_range(id_, subnet)
        self._stores.pools.finish_delete(id_)

    def _sweep_subnet(self, id_: ObjectId) -> Iterator[int]:
        """Remove what hangs on a hidden subnet; after each step, how many addresses were taken back.

        The range goes last, so that no other subnet has these addresses before they are taken from their holders.
        """
        subnet = self._hidden(id_)
        if subnet is None:
            return
        while (ledger := self._stores.ledgers.find(id_)) and self._roll_forward.settle(ledger, by_force=True):
            pass
        while taken_back := self._take_back_some(id_):
            self._renew(subnet)
            yield taken_back
        while some := self._stores.reservations.of_subnet(id_, _RECOUNTED_AT_ONCE):
            with use_audit_context(subnet.deleted_by):
                for reservation in some:
                    self._stores.reservations.leave(reservation.id, id_)
            self._renew(subnet)
            yield 0
        self._stores.pools.drop_range(subnet.pool, id_)
        self._stores.ledgers.retire(id_)
        self._stores.subnets.finish_delete(id_)

    def _take_back_some(self, id_: ObjectId) -> int:
        """Take some addresses of a hidden subnet from their holders; how many, 0 if there is none left.

        Only processes that sweep it change its blocks from now on.
        """
        parts: dict[int, FrozenBitMap] = {}
        freed: list[Writes] = []
        left = RELEASED_AT_ONCE
        for block in self._stores.blocks.of_subnet(id_):
            if part := block.taken[:left]:
                parts[block.number] = part
                freed.append(self._stores.blocks.succession([block.succeeded_by(block.taken - part, block.known)]))
                left -= len(part)
            if not left:
                break
        if parts:
            self._stores.leases.retire(id_, AddressSet(parts))
            self._stores.writer.write(freed)
        return RELEASED_AT_ONCE - left

    def _renew(self, subnet: Subnet) -> None:
        self._stores.subnets.renew_sweep(subnet.id)
        self._stores.pools.renew_sweep(subnet.pool)
