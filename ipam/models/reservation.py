"""A reservation."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import StrEnum

from bson import ObjectId

from ipam.models.address_set import AddressSet
from ipam.models.document import Bson, Document, common_from_bson, common_to_bson
from ipam.models.reserved_addresses import SubnetAddresses, in_order, lease_key, stem_of


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
    """

    pool: ObjectId
    subnets: tuple[ObjectId, ...]
    count: int
    holdings: tuple[SubnetAddresses, ...] = ()
    state: ReservationState = ReservationState.ACTIVE
    at_once: bool = False

    @property
    def subnet(self) -> ObjectId | None:
        """The subnet that it takes from, None when there are several, or none any more."""
        return self.subnets[0] if len(self.subnets) == 1 else None

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
        return {
            "_id": self.id,
            **common_to_bson(self),
            "pool": self.pool,
            "subnets": list(self.subnets),
            "count": self.count,
            "holdings": [holding.to_bson() for holding in self.holdings],
            "keys": [self.pool, *self.subnets, stem_of(self.id)],
            "state": self.state.value,
        }

    @classmethod
    def from_bson(cls, bson: Bson) -> Reservation:
        """Return the reservation that was stored."""
        return cls(
            id=bson["_id"],
            **common_from_bson(bson),
            pool=bson["pool"],
            subnets=tuple(bson["subnets"]),
            count=bson["count"],
            holdings=tuple(map(SubnetAddresses.from_bson, bson.get("holdings", ()))),
            state=ReservationState(bson["state"]),
            at_once=bson.get("at_once", False),
        )


def _counted(reservation: Reservation) -> Reservation:
    return replace(reservation, count=sum(len(addresses) for _, addresses in reservation.left))
