"""Blocks: bitmaps of the taken addresses of subnets, 65,536 addresses a document."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from operator import itemgetter
from typing import Any

from bson import ObjectId
from pymongo import ASCENDING
from pymongo.collection import Collection
from pymongo.database import Database
from pyroaring import FrozenBitMap

from ipam.models.address_set import EMPTY, NUMBER_MAX, number_from_bytes, number_to_bytes
from ipam.models.bulk_writes import Writes
from ipam.models.connection import KEYS_CHUNK, among, chunks, speaks_mongo

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


@speaks_mongo
class BlockStore:
    """The collection `blocks`: only blocks of which some address was ever taken."""

    def __init__(self, database: Database[Any]) -> None:
        self._collection: Collection[Any] = database["blocks"]

    def read(self, subnet: ObjectId, numbers: Iterable[int]) -> dict[int, Block]:
        """Return the blocks called *numbers*, by number; one that is not stored is empty."""
        blocks = {number: Block(subnet=subnet, number=number) for number in numbers}
        keys = [block_key(subnet, number) for number in blocks]
        for bson in self._collection.find({"_id": keys[0] if len(keys) == 1 else {"$in": keys}}):
            block = Block.from_bson(bson)
            blocks[block.number] = block
        return blocks

    def read_many(self, wanted: Iterable[tuple[ObjectId, int]]) -> dict[ObjectId, list[Block]]:
        """Return the stored blocks among those *wanted* by subnet and number; by subnet, ascending."""
        found: dict[ObjectId, list[Block]] = {}
        keys = (block_key(subnet, number) for subnet, number in wanted)
        for some in chunks(keys, KEYS_CHUNK):
            for bson in sorted(self._collection.find({"_id": among(some)}), key=itemgetter("_id")):
                found.setdefault(bson["subnet"], []).append(Block.from_bson(bson))
        return found

    def of_subnet(self, subnet: ObjectId, first: int = 0, last: int = NUMBER_MAX) -> Iterator[Block]:
        """Yield the blocks of *subnet* that are stored, from number *first* to *last*, ascending."""
        keys = {"$gte": block_key(subnet, first), "$lte": block_key(subnet, last)}
        found = self._collection.find({"subnet": subnet, "_id": keys}).sort("_id", ASCENDING)
        yield from map(Block.from_bson, found)

    def succession(self, blocks: Iterable[Block]) -> Writes:
        """Return how *blocks* are stored, each in the place of its version before."""
        return Writes("blocks", successors=[block.to_bson() for block in blocks])

    def forget(self, subnet: ObjectId) -> None:
        """Remove the blocks of a subnet that was deleted long ago."""
        self._collection.delete_many({"subnet": subnet})
