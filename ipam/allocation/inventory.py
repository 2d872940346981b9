"""Pools and subnets: creating and deleting them with all that hangs on them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from bson import ObjectId

from ipam.allocation.leasing import space_of
from ipam.allocation.settling import Settling
from ipam.errors import Contended, Invalid, NotFound, Rejected, SubnetOverlap, Transient
from ipam.models.addresses import Address
from ipam.models.documents import Pool, Subnet, SubnetState
from ipam.models.stores import Stores
from ipam.retrying import retry_contended


@dataclass(frozen=True, slots=True, kw_only=True)
class SubnetDraft:
    """A subnet as a user asks for it; start and end are of one family, start not after end."""

    name: str = ""
    tags: tuple[str, ...] = ()
    metadata: Any = None
    start: Address
    end: Address
    cidr: str | None = None
    gateway: Address | None = None
    exclusions: tuple[str, ...] = ()


class Inventory:
    """Creates and deletes pools and subnets."""

    def __init__(self, stores: Stores, settling: Settling) -> None:
        self._stores = stores
        self._settling = settling

    def create_pool(self, pool: Pool) -> Pool:
        """Store *pool*; to do it again with the same id changes nothing."""
        self._stores.pools.insert(pool)
        return self._stores.pools.get(pool.id)

    def create_subnet(self, id_: ObjectId, pool: ObjectId, draft: SubnetDraft) -> Subnet:
        """Put a subnet into a pool; to do it again with the same id changes nothing.

        It is stored hidden, then its range is held in the pool, then it is shown: whatever dies in between,
        what is left can be told from a subnet that exists.

        Raises:
            NotFound: If there is no such pool.
            SubnetOverlap: If another subnet of the pool has some of the addresses.
            Invalid: If no address is left to hand out.
        """
        self._stores.pools.get(pool)
        subnet = _drafted(id_, pool, draft)
        self._stores.subnets.insert(subnet)
        try:
            retry_contended(lambda: self._hold_range(subnet))
        except Rejected:
            self._stores.subnets.give_up(id_)
            self._stores.subnets.forget(id_)
            raise
        if not self._stores.subnets.activate(id_):
            self._stores.pools.drop_range(pool, id_)
            raise Transient("Creating the subnet took too long and was given up.")
        return self._stores.subnets.get(id_)

    def delete_subnet(
        self, id_: ObjectId, revisions: frozenset[int] | None = None, *, cascade: bool = True
    ) -> None:
        """Delete a subnet with its reservations and leases.

        Raises:
            NotFound: If there is no such subnet.
            Stale: If its revision is not among *revisions*, None accepting any.
            NotEmpty: If *cascade* is false and addresses of it are taken.
        """
        self._stores.subnets.begin_delete(id_, revisions, only_empty=not cascade)
        self.sweep_subnet(id_)

    def delete_pool(self, id_: ObjectId, revisions: frozenset[int] | None = None, *, cascade: bool = True) -> None:
        """Delete a pool with all that is in it.

        Raises:
            NotFound: If there is no such pool.
            Stale: If its revision is not among *revisions*, None accepting any.
            NotEmpty: If *cascade* is false and it has subnets.
        """
        self._stores.pools.begin_delete(id_, revisions, only_empty=not cascade)
        self.sweep_pool(id_)

    def sweep_pool(self, id_: ObjectId) -> None:
        """Remove what is in a hidden pool, then the pool; may be repeated."""
        for subnet in self._stores.subnets.of_pool(id_, tuple(SubnetState)):
            if subnet.state is SubnetState.CREATING:
                self._stores.subnets.give_up(subnet.id)
            if subnet.state is SubnetState.ACTIVE:
                self._hide(subnet.id)
            self.sweep_subnet(subnet.id)
        self._stores.pools.finish_delete(id_)

    def sweep_subnet(self, id_: ObjectId) -> None:
        """Remove what hangs on a hidden subnet; may be repeated.

        The subnet's document itself stays for a while (`Recovery` forgets it): a worker that was asleep may
        still write leases that it was granted, and they must be found and removed then.
        """
        subnet = self._stores.subnets.find(id_)
        if subnet is None or subnet.state is not SubnetState.DELETING:
            return
        self._stores.pools.drop_range(subnet.pool, id_)
        self._settling.settle(subnet, by_force=True)
        self._stores.leases.delete_subnet(id_)
        alone = []
        for reservation in self._stores.reservations.of_subnet(id_):
            if reservation.subnets == (id_,):
                alone.append(reservation.id)
            else:
                self._recount_without(reservation.id, id_)
        self._stores.reservations.finish_release(alone)

    def _recount_without(self, reservation: ObjectId, subnet: ObjectId) -> None:
        count = self._stores.leases.count_of_reservation
        self._stores.reservations.recount(reservation, lambda: count(reservation), without=subnet)

    def _hide(self, subnet: ObjectId) -> None:
        try:
            self._stores.subnets.begin_delete(subnet, None, only_empty=False)
        except NotFound:
            return  # Someone else is deleting it: the sweep that follows is theirs and ours.

    def _hold_range(self, subnet: Subnet) -> None:
        try:
            self._stores.pools.hold_range(subnet)
        except SubnetOverlap as overlap:
            other = self._stores.subnets.find(ObjectId(overlap.facts["subnet"]))
            if other is None or other.state is SubnetState.DELETING:
                self._stores.pools.drop_range(subnet.pool, ObjectId(overlap.facts["subnet"]))
                raise Contended("The range in the way belonged to a deleted subnet.") from overlap
            raise


def _drafted(id_: ObjectId, pool: ObjectId, draft: SubnetDraft) -> Subnet:
    subnet = Subnet(
        id=id_,
        name=draft.name,
        tags=draft.tags,
        metadata=draft.metadata,
        pool=pool,
        start=draft.start,
        end=draft.end,
        size=0,
        cidr=draft.cidr,
        gateway=draft.gateway,
        exclusions=draft.exclusions,
    )
    size = space_of(subnet).size
    if not size:
        raise Invalid.at("/exclusions", "leave no address to hand out")
    return replace(subnet, size=size)
