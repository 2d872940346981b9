"""Blocks: bitmaps of the taken addresses of subnets, 65,536 addresses a document."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from bson import ObjectId
from pyroaring import FrozenBitMap

from ipam.models.address_set import EMPTY, number_from_bytes, number_to_bytes

Bson = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A block of a subnet, with positions from 0 to 65,535.

    Attributes:
        number: Its addresses without their last 16 bits.
        version: Grows with every change; 0 while it is not stored.
        taken: What is not free, but for what the subnet's ledger has on its way.
        known: What has a document among the leases, held or not.
    """

    subnet: ObjectId
    number: int
    version: int = 0
    taken: FrozenBitMap = EMPTY
    known: FrozenBitMap = EMPTY

    def succeeded_by(self, taken: FrozenBitMap, known: FrozenBitMap) -> Block:
        """Return the next version of this block."""
        return replace(self, version=self.version + 1, taken=taken, known=known)

    def to_bson(self) -> Bson:
        """Return the stored form."""
        return {
            "_id": block_key(self.subnet, self.number),
            "subnet": self.subnet,
            "version": self.version,
            "taken": _packed(self.taken),
            "known": _packed(self.known),
        }

    @classmethod
    def from_bson(cls, bson: Bson) -> Block:
        """Return the block that was stored."""
        return cls(
            subnet=bson["subnet"],
            number=number_from_bytes(bson["_id"][12:]),
            version=bson["version"],
            taken=FrozenBitMap.deserialize(bson["taken"]),
            known=FrozenBitMap.deserialize(bson["known"]),
        )


def block_key(subnet: ObjectId, number: int) -> bytes:
    """Return the `_id` of a block, 12 bytes of subnet and 14 of number: it is read by its exact key."""
    return subnet.binary + number_to_bytes(number)


def _packed(positions: FrozenBitMap) -> bytes:
    positions.run_optimize()  # The same set, kept in the least space.
    return positions.serialize()
