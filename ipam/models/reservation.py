"""A reservation."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Annotated, ClassVar

from bson import ObjectId

from ipam.models.address_set import AddressSet
from ipam.models.document import Document
from ipam.models.fields import OBJECT_ID, OBJECT_IDS, TIME, Access, Bson, Field, Stored, enumeration
from ipam.models.reserved_addresses import HOLDINGS, SubnetAddresses, in_order, lease_key, stem_of
from ipam.models.search_keys import search_keys


class ReservationState(StrEnum):
    """A reservation is shown only while it is active; a released one stays for a while as a tombstone.

    The tombstone keeps a worker that was asleep for long from bringing the reservation back.
    """

    ACTIVE = "active"
    RELEASING = "releasing"
    RELEASED = "released"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reservation(Document):
    """Addresses that belong together; `count` is how many it holds now.

    A lease names its holder; by its *holdings* a reservation finds its leases. Lists leave them out.

    Attributes:
        at_once: Whether, its release being begun, all that it has goes back with one entry in a ledger.
        unfinished: When its release was worked on last; None while none is begun.
    """

    type_name: ClassVar[str] = "reservation"
    joined: ClassVar[tuple[str, ...]] = ("pool_metadata", "subnet_metadata", "leases")
    tombstone: ClassVar[tuple[str, ...]] = ("count", "state", "created_at", "updated_at", "revision", "outbox")

    pool: Annotated[ObjectId, Field(Access.FIXED, OBJECT_ID)]
    subnets: Annotated[tuple[ObjectId, ...], Field(Access.COMPUTED, OBJECT_IDS)]
    count: Annotated[int, Field(Access.COMPUTED)]
    holdings: Annotated[tuple[SubnetAddresses, ...], Field(codec=HOLDINGS)] = ()
    state: Annotated[ReservationState, Field(Access.COMPUTED, enumeration(ReservationState))] = (
        ReservationState.ACTIVE
    )
    at_once: Annotated[bool, Field(stored=Stored.APART)] = False
    unfinished: Annotated[datetime | None, Field(stored=Stored.APART)] = None

    @property
    def subnet(self) -> Annotated[ObjectId | None, Field(Access.FIXED, OBJECT_ID)]:
        """The subnet that it takes from, None when there are several, or none any more."""
        return self.subnets[0] if len(self.subnets) == 1 else None

    @property
    def expires_at(self) -> Annotated[datetime | None, Field(Access.COMPUTED, TIME)]:
        """When it is released by itself: never, in this version."""
        return None

    @property
    def left(self) -> Iterator[tuple[ObjectId, AddressSet]]:
        """The addresses that it still holds, by subnet, in the order of lease keys."""
        for holding in in_order(self.holdings):
            if holding.subnet in self.subnets:
                yield holding.subnet, holding.left

    def lease_keys(self) -> Iterator[bytes]:
        """Return the keys of the leases that it has, unless one was given back this moment; they ascend."""
        return (lease_key(subnet, address) for subnet, addresses in self.left for address in addresses)

    def less(self, subnet: ObjectId, addresses: AddressSet) -> Reservation:
        """Return the reservation without *addresses* of *subnet*."""
        holdings = (
            replace(one, back=one.back | addresses) if one.subnet == subnet else one for one in self.holdings
        )
        return _counted(replace(self, holdings=tuple(holdings)))

    def without(self, subnet: ObjectId) -> Reservation:
        """Return the reservation without all that it has of *subnet*."""
        return _counted(replace(self, subnets=tuple(one for one in self.subnets if one != subnet)))

    def to_bson(self) -> Bson:
        """Return the stored form."""
        return {**Document.to_bson(self), "keys": search_keys(self.pool, *self.subnets, stem_of(self.id))}


def _counted(reservation: Reservation) -> Reservation:
    return replace(reservation, count=sum(len(addresses) for _, addresses in reservation.left))
