"""The addresses of a reservation by subnet, and the keys and ids of their leases."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from bson import ObjectId

from ipam.models.address_set import NO_ADDRESS, AddressSet
from ipam.models.addresses import Address, from_bytes, to_bytes
from ipam.models.fields import Codec

# Together as long as an id must be; a reservation has 65,536 addresses at most.
_STEM_BYTES, _RANK_BYTES = 10, 2


@dataclass(frozen=True, slots=True)
class SubnetAddresses:
    """The addresses of a reservation in one subnet.

    Attributes:
        given: The addresses that it was given, whatever became of them.
        back: Those of them that were given back while it kept others.
    """

    subnet: ObjectId
    given: AddressSet
    back: AddressSet = NO_ADDRESS

    @property
    def left(self) -> AddressSet:
        """The addresses that it still has, if neither it nor its subnet is on its way out."""
        return self.given - self.back

    def to_bson(self) -> list[Any]:
        """Return the stored form."""
        return [self.subnet, self.given.to_bson(), *([self.back.to_bson()] if self.back else [])]

    @classmethod
    def from_bson(cls, bson: Sequence[Any]) -> SubnetAddresses:
        """Return what was stored."""
        subnet, *addresses = bson
        return cls(subnet, *map(AddressSet.from_bson, addresses))


HOLDINGS = Codec(
    lambda holdings: [holding.to_bson() for holding in holdings],
    lambda stored: tuple(map(SubnetAddresses.from_bson, stored)),
)


def in_order(holdings: Iterable[SubnetAddresses]) -> list[SubnetAddresses]:
    """Return *holdings* in the order of the keys of their leases."""
    return sorted(holdings, key=lambda holding: holding.subnet)


def stem_of(reservation: ObjectId) -> bytes:
    """Return what the ids of the leases of *reservation*, and no others, begin with."""
    return hashlib.sha256(reservation.binary).digest()[:_STEM_BYTES]


def lease_id(stem: bytes, rank: int) -> ObjectId:
    """Return the id of a lease: the *stem* of its reservation, and its *rank* among what that was given, from 0."""
    return ObjectId(stem + rank.to_bytes(_RANK_BYTES, "big"))


def split_lease_id(id_: ObjectId) -> tuple[bytes, int]:
    """Return the stem and the rank in the id of a lease."""
    return id_.binary[:_STEM_BYTES], int.from_bytes(id_.binary[_STEM_BYTES:], "big")


def key_at(rank: int, holdings: Iterable[SubnetAddresses]) -> bytes | None:
    """Return the key of the lease that has this *rank* among what was given; None if that is not so many."""
    for holding in in_order(holdings):
        if (address := holding.given.at(rank)) is not None:
            return lease_key(holding.subnet, address)
        rank -= len(holding.given)
    return None


def lease_key(subnet: ObjectId, address: Address) -> bytes:
    """Return the `_id` of a lease, 12 bytes of subnet and 16 of address; so the database lets each exist once."""
    return subnet.binary + to_bytes(address)


def address_in(key: bytes, subnet: ObjectId) -> Address | None:
    """Return the address in the *key* of a lease; None if that is of another subnet."""
    return from_bytes(key[12:]) if key.startswith(subnet.binary) else None
