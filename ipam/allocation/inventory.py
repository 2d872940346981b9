"""Pools and subnets: creating and deleting them with all that hangs on them."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from bson import ObjectId

from ipam.allocation.consulting import Consulting
from ipam.allocation.leasing import RELEASED_AT_ONCE, space_of
from ipam.allocation.settling import Settling
from ipam.errors import Contended, Invalid, NotFound, Refused, Rejected, SubnetOverlap
from ipam.models.address_sets import AddressSet
from ipam.models.addresses import Address
from ipam.models.documents import Pool, Strategy, Subnet, SubnetState
from ipam.models.stores import Stores
from ipam.origins import acting_for
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
    strategy: Strategy = Strategy.NEXT


class Inventory:
    """Creates and deletes pools and subnets."""

    def __init__(self, stores: Stores, settling: Settling, consulting: Consulting) -> None:
        self._stores = stores
        self._settling = settling
        self._consulting = consulting

    def create_pool(self, pool: Pool) -> Pool:
        """Store *pool*; to do it again with the same id changes nothing.

        Raises:
            Refused: If a hook does not allow it.
        """
        try:
            consulted = self._consulting.create(pool)
        except Refused:
            # The same request, sent twice, may have been allowed the other time: then it is done, else never.
            made = self._stores.pools.refuse(pool)
            if made is None:
                raise
            return made
        return self._stores.pools.insert(consulted)

    def create_subnet(self, id_: ObjectId, pool: ObjectId, draft: SubnetDraft) -> Subnet:
        """Put a subnet into a pool; to do it again with the same id changes nothing.

        It is stored hidden, then its range is held in the pool, then it is shown: whatever dies in between,
        what is left can be told from a subnet that exists, and says how to go on.

        Raises:
            NotFound: If there is no such pool, or the subnet was created before and is deleted.
            SubnetOverlap: If another subnet of the pool has some of the addresses.
            Invalid: If no address is left to hand out.
            Refused: If a hook does not allow it.
        """
        self._stores.pools.get(pool)
        drafted = _drafted(id_, pool, draft)
        try:
            subnet = self._consulting.create(drafted)
        except Refused:
            begun = self._stores.subnets.refuse(drafted)  # As above.
            if begun is None:
                raise
            return self.finish_creation(begun)
        self._stores.subnets.insert(subnet)
        return self.finish_creation(subnet)

    def finish_creation(self, subnet: Subnet) -> Subnet:
        """Carry the creation of a stored subnet to its end; may be repeated.

        Raises:
            NotFound: If its pool is gone, or the subnet is deleted already.
            SubnetOverlap: If another subnet of the pool has some of the addresses.
        """
        try:
            retry_contended(lambda: self._hold_range(subnet))
        except Rejected:
            self._stores.subnets.drop_unborn(subnet.id)
            found = self._stores.subnets.find(subnet.id)
            if found and found.state is SubnetState.ACTIVE:
                return found  # What was in the way is gone, and another has carried the creation to its end.
            self.sweep_subnet(subnet.id)
            raise
        shown = self._stores.subnets.activate(subnet.id)
        if shown is None:
            self._drop_if_deleted(subnet.pool, subnet.id)
            raise NotFound(f"There is no subnet {subnet.id}.")
        return shown

    def delete_subnet(
        self, id_: ObjectId, revisions: frozenset[int] | None = None, *, cascade: bool = True
    ) -> None:
        """Delete a subnet with its reservations and leases.

        Raises:
            NotFound: If there is no such subnet.
            Stale: If its revision is not among *revisions*, None accepting any.
            NotEmpty: If *cascade* is false and addresses of it are taken.
            Refused: If a hook does not allow it.
        """
        self._consulting.delete(self._stores.subnets, id_, revisions)
        self._stores.subnets.begin_delete(id_, revisions, only_empty=not cascade)
        self.sweep_subnet(id_)

    def delete_pool(self, id_: ObjectId, revisions: frozenset[int] | None = None, *, cascade: bool = True) -> None:
        """Delete a pool with all that is in it.

        Raises:
            NotFound: If there is no such pool.
            Stale: If its revision is not among *revisions*, None accepting any.
            NotEmpty: If *cascade* is false and it has subnets.
            Refused: If a hook does not allow it; it is not asked about what goes with the pool.
        """
        self._consulting.delete(self._stores.pools, id_, revisions)
        if not cascade:  # What a deleted subnet may still hold does not count; the first one that is there decides.
            for subnet in self._stores.pools.holders(id_):
                if not self._drop_if_deleted(id_, subnet):
                    break
        self._stores.pools.begin_delete(id_, revisions, only_empty=not cascade)
        self.sweep_pool(id_)

    def sweep_pool(self, id_: ObjectId) -> None:
        """Remove what is in a hidden pool, then the pool; may be repeated.

        Nobody gets a range in it any more, so what holds one is all that is left to remove.
        """
        with acting_for(self._stores.pools.deleted_by(id_)):
            for subnet in self._stores.pools.holders(id_):
                self._stores.subnets.drop_unborn(subnet)
                with suppress(NotFound):
                    self._stores.subnets.begin_delete(subnet, None, only_empty=False)
                self._drop_if_deleted(id_, subnet)
        self._stores.pools.finish_delete(id_)

    def sweep_subnet(self, id_: ObjectId) -> None:
        """Remove what hangs on a hidden subnet; may be repeated.

        The range goes last, so that nobody is given the same addresses before they are taken from their holders.
        """
        subnet = self._stores.subnets.find(id_)
        while subnet and subnet.state is SubnetState.DELETING and self._settling.settle(subnet, by_force=True):
            subnet = self._stores.subnets.find(id_)
        if subnet is None or subnet.state is not SubnetState.DELETING:
            return
        for block in self._stores.blocks.of_subnet(id_):
            for part in AddressSet.of_blocks({block.number: block.taken}).parts(RELEASED_AT_ONCE):
                self._stores.leases.retire(id_, part)
                self._stores.subnets.renew_sweep(id_)
                self._stores.pools.renew_sweep(subnet.pool)
        with acting_for(subnet.deleted_by):
            for reservation in self._stores.reservations.of_subnet(id_):
                self._recount_without(reservation.id, id_)
        self._stores.pools.drop_range(subnet.pool, id_)
        self._stores.subnets.finish_delete(id_)

    def _recount_without(self, reservation: ObjectId, subnet: ObjectId) -> None:
        count = self._stores.leases.count_of_reservation
        self._stores.reservations.recount(reservation, lambda: count(reservation), without=subnet)

    def _hold_range(self, subnet: Subnet) -> None:
        try:
            self._stores.pools.hold_range(subnet)
        except SubnetOverlap as overlap:
            if self._drop_if_deleted(subnet.pool, ObjectId(overlap.facts["subnet"])):
                raise Contended("The range in the way belonged to a deleted subnet.") from overlap
            raise

    def _drop_if_deleted(self, pool: ObjectId, subnet_id: ObjectId) -> bool:
        """Take the range of a deleted subnet back, which is swept before; False if the subnet is not deleted.

        A creation that slept can have got the range after the deletion.
        """
        subnet = self._stores.subnets.find(subnet_id)
        if subnet is not None and subnet.state in (SubnetState.CREATING, SubnetState.ACTIVE):
            return False
        self.sweep_subnet(subnet_id)
        self._stores.pools.drop_range(pool, subnet_id)
        return True


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
        strategy=draft.strategy,
    )
    size = space_of(subnet).size
    if not size:
        raise Invalid.at("/exclusions", "leave no address to hand out")
    return replace(subnet, size=size)
