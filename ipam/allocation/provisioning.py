"""Creating pools and subnets."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from bson import ObjectId

from ipam.allocation.cascade_delete import CascadeDeleter
from ipam.errors import NotFound, Rejected, RejectedByHook, SubnetOverlap, ValidationFailed, WriteConflict
from ipam.hooks.admission import AdmissionController
from ipam.models.addresses import Address
from ipam.models.ledger import Ledger
from ipam.models.pool import Pool
from ipam.models.subnet import Strategy, Subnet, SubnetState
from ipam.storage.stores import Stores
from ipam.util.retry import retry_on_conflict


@dataclass(frozen=True, slots=True, kw_only=True)
class SubnetSpec:
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


class Provisioner:
    """Creates pools and subnets."""

    def __init__(self, stores: Stores, cascade_deleter: CascadeDeleter, admission: AdmissionController) -> None:
        self._stores = stores
        self._cascade_deleter = cascade_deleter
        self._admission = admission

    def create_pool(self, pool: Pool) -> Pool:
        """Store *pool*; to do it again with the same id changes nothing.

        Raises:
            RejectedByHook: If a hook does not allow it.
        """
        try:
            reviewed = self._admission.review_creation(pool)
        except RejectedByHook:
            # The same request, sent twice, may have been allowed the other time: then it is done, else never.
            made = self._stores.pools.refuse(pool)
            if made is None:
                raise
            return made
        return self._stores.pools.insert(reviewed)

    def create_subnet(self, id_: ObjectId, pool: ObjectId, spec: SubnetSpec) -> Subnet:
        """Put a subnet into a pool; to do it again with the same id changes nothing.

        It is stored hidden, then its range is held in the pool, then it is shown and its ledger opened: whatever
        dies in between, what is left can be told from a subnet that exists, and says how to go on.

        Raises:
            NotFound: If there is no such pool, or the subnet was created before and is deleted.
            SubnetOverlap: If another subnet of the pool has some of the addresses.
            ValidationFailed: If no address is left to hand out.
            RejectedByHook: If a hook does not allow it.
        """
        self._stores.pools.get(pool)
        wanted = _subnet_of(id_, pool, spec)
        try:
            subnet = self._admission.review_creation(wanted)
        except RejectedByHook:
            begun = self._stores.subnets.refuse(wanted)  # As above.
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
            retry_on_conflict(lambda: self._hold_range(subnet))
        except Rejected:
            self._stores.subnets.drop_unborn(subnet.id)
            found = self._stores.subnets.find(subnet.id)
            if found and found.state is SubnetState.ACTIVE:
                return found  # What was in the way is gone, and another has carried the creation to its end.
            self._cascade_deleter.sweep_subnet(subnet.id)
            raise
        ledger = Ledger.of(subnet)
        self._stores.ledgers.insert(ledger)
        shown = self._stores.subnets.activate(subnet.id)
        if shown is None:
            self._cascade_deleter.drop_if_deleted(subnet.pool, subnet.id)
            raise NotFound(f"There is no subnet {subnet.id}.")
        self._stores.ledgers.open(ledger)
        self._stores.subnets.tell(shown)
        return shown

    def _hold_range(self, subnet: Subnet) -> None:
        try:
            self._stores.pools.hold_range(subnet)
        except SubnetOverlap as overlap:
            if self._cascade_deleter.drop_if_deleted(subnet.pool, ObjectId(overlap.facts["subnet"])):
                raise WriteConflict("The range in the way belonged to a deleted subnet.") from overlap
            raise


def _subnet_of(id_: ObjectId, pool: ObjectId, spec: SubnetSpec) -> Subnet:
    subnet = Subnet(
        id=id_,
        name=spec.name,
        tags=spec.tags,
        metadata=spec.metadata,
        pool=pool,
        start=spec.start,
        end=spec.end,
        size=0,
        used=0,
        cidr=spec.cidr,
        gateway=spec.gateway,
        exclusions=spec.exclusions,
        strategy=spec.strategy,
    )
    size = subnet.space.size
    if not size:
        if replace(subnet, gateway=None).space.size:
            raise ValidationFailed.at(
                "/gateway", f"{subnet.gateway} is the last address there is to hand out; leave it out"
            )
        raise ValidationFailed.at("/exclusions", "leave no address to hand out")
    return replace(subnet, size=size)
