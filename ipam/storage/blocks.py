"""The store of blocks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from operator import itemgetter
from typing import Any

from bson import ObjectId
from pymongo import ASCENDING
from pymongo.collection import Collection
from pymongo.database import Database

from ipam.models.address_set import NUMBER_MAX
from ipam.models.block import Block, block_key
from ipam.storage.bulk_writes import Writes
from ipam.storage.connection import KEYS_CHUNK, among, chunks, speaks_mongo

Bson = dict[str, Any]


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
