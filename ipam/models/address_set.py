"""Sets of addresses, kept as one roaring bitmap for each block of 65,536 of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pyroaring import FrozenBitMap

from ipam.models.addresses import Address, from_number, to_number

BLOCK_BITS = 16
BLOCK_SIZE = 1 << BLOCK_BITS
EMPTY = FrozenBitMap()
# What is left of 128 bits.
_NUMBER_BYTES = 14
NUMBER_MAX = (1 << 8 * _NUMBER_BYTES) - 1


@dataclass(frozen=True, slots=True)
class AddressSet:
    """Any number of addresses; a run of them or a few need some bytes, a block 8 KB at most.

    Attributes:
        blocks: By block number (that of an address without its last 16 bits), which of the block's positions are
            meant; numbers ascend and no bitmap is empty.
    """

    blocks: Mapping[int, FrozenBitMap]

    @classmethod
    def of_blocks(cls, blocks: Mapping[int, FrozenBitMap]) -> AddressSet:
        """Return the set that has these positions of these blocks."""
        return cls({number: blocks[number] for number in sorted(blocks) if blocks[number]})

    @classmethod
    def of(cls, addresses: Iterable[Address]) -> AddressSet:
        """Return the set of these addresses."""
        positions: dict[int, list[int]] = {}
        for number in map(to_number, addresses):
            positions.setdefault(number >> BLOCK_BITS, []).append(number % BLOCK_SIZE)
        return cls.of_blocks({number: FrozenBitMap(some) for number, some in positions.items()})

    def __len__(self) -> int:
        """Return how many addresses it has."""
        return sum(map(len, self.blocks.values()))

    def __iter__(self) -> Iterator[Address]:
        """Yield the addresses, lowest first."""
        for block, positions in self.blocks.items():
            for position in positions:
                yield from_number(block << BLOCK_BITS | position)

    def at(self, rank: int) -> Address | None:
        """Return the address before which there are *rank* lower ones; None if it has no more than that."""
        for number, positions in self.blocks.items():
            if rank < len(positions):
                return from_number(number << BLOCK_BITS | positions[rank])
            rank -= len(positions)
        return None

    def __or__(self, other: AddressSet) -> AddressSet:
        """Return the addresses of either set."""
        numbers = self.blocks.keys() | other.blocks.keys()
        return AddressSet.of_blocks({number: self._of(number) | other._of(number) for number in numbers})

    def __sub__(self, other: AddressSet) -> AddressSet:
        """Return the addresses that *other* does not have."""
        return AddressSet.of_blocks({number: some - other._of(number) for number, some in self.blocks.items()})

    def _of(self, number: int) -> FrozenBitMap:
        return self.blocks.get(number, EMPTY)

    def runs(self) -> Iterator[tuple[Address, Address]]:
        """Yield the same addresses as runs, each its first and last; two may touch where a block begins."""
        for block, positions in self.blocks.items():
            for first, last in runs_of(positions):
                yield from_number(block << BLOCK_BITS | first), from_number(block << BLOCK_BITS | last)

    def parts(self, size: int) -> Iterator[AddressSet]:
        """Yield the same addresses as sets of *size*, the last one of fewer perhaps, lowest first."""
        part: dict[int, FrozenBitMap] = {}
        left = size
        for number, positions in self.blocks.items():
            first = 0
            while first < len(positions):
                part[number] = positions[first : first + left]
                first += len(part[number])
                left -= len(part[number])
                if not left:
                    yield AddressSet(part)
                    part, left = {}, size
        if part:
            yield AddressSet(part)

    def to_bson(self) -> list[list[bytes]]:
        """Return the stored form."""
        return [[number_to_bytes(number), positions.serialize()] for number, positions in self.blocks.items()]

    @classmethod
    def from_bson(cls, bson: Iterable[Any]) -> AddressSet:
        """Return the set that was stored."""
        return cls({number_from_bytes(number): FrozenBitMap.deserialize(positions) for number, positions in bson})


NO_ADDRESS = AddressSet({})


def runs_of(positions: FrozenBitMap) -> Iterator[tuple[int, int]]:
    """Yield the *positions* of a block as runs, each its first and last one, ascending and not touching."""
    after = FrozenBitMap([BLOCK_SIZE])  # Both a hole and the beginning of a run that is none.
    holes, begins = positions.flip(0, BLOCK_SIZE) | after, positions | after
    first = begins.min()
    while first < BLOCK_SIZE:
        end = holes.next_set_bit(first)
        yield first, end - 1
        first = begins.next_set_bit(end)


def number_to_bytes(number: int) -> bytes:
    """Return a block's number as 14 bytes that sort as numbers do: it has up to 112 bits, BSON integers 64."""
    return number.to_bytes(_NUMBER_BYTES, "big")


def number_from_bytes(packed: bytes) -> int:
    """Return the number that `number_to_bytes` was given."""
    return int.from_bytes(packed, "big")
