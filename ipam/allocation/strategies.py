"""In which order a subnet's addresses are looked at, and which of the free ones are taken; pure but for chance."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from pyroaring import FrozenBitMap

from ipam.models.address_set import BLOCK_BITS, BLOCK_SIZE
from ipam.models.address_space import AddressSpace
from ipam.models.intervals import Runs, merged, outside
from ipam.models.subnet import Strategy


@dataclass(frozen=True, slots=True)
class BlockSlice:
    """The positions of a block from *first* to before *end*."""

    block: int
    first: int = 0
    end: int = BLOCK_SIZE

    def of(self, positions: FrozenBitMap) -> FrozenBitMap:
        """Return those of *positions* that lie in it."""
        if self.end - self.first == BLOCK_SIZE:
            return positions
        return positions & FrozenBitMap(range(self.first, self.end))


def scan_order(strategy: Strategy, space: AddressSpace, full: Runs, cursor: int | None) -> Iterator[BlockSlice]:
    """Return all of *space* but its *full* blocks, in the order in which *strategy* looks at it.

    `next` begins behind *cursor*, so that an address which was given back is handed out again as late as the size
    of the subnet allows; `random` begins with the block of any address.
    """
    match strategy:
        case Strategy.NEXT if cursor is not None and space.first <= cursor < space.last:
            return _round(space, full, cursor + 1)
        case Strategy.RANDOM:
            anywhere = random.randint(space.first, space.last)  # noqa: S311 (it need not be unpredictable)
            return _round(space, full, max(space.first, anywhere >> BLOCK_BITS << BLOCK_BITS))
    return _round(space, full, space.first)


def scattered(space: AddressSpace, full: Runs, count: int) -> Counter[BlockSlice]:
    """Blocks of *space*, none of them *full*, in which *count* addresses lie that are drawn from all of it.

    Fewer, where some of those drawn lie in blocks that are full.
    """
    passed = merged((*full, *space.closed))
    drawn = (random.randint(space.first, space.last) >> BLOCK_BITS for _ in range(count))  # noqa: S311 (as above)
    return Counter(BlockSlice(block) for block in drawn if any(outside(passed, block, block)))


def _round(space: AddressSpace, full: Runs, begin: int) -> Iterator[BlockSlice]:
    """From *begin* to the end, then from the first address to before *begin*."""
    here, position = begin >> BLOCK_BITS, begin % BLOCK_SIZE
    passed = merged((*full, *space.closed))
    for block in outside(passed, here, space.last >> BLOCK_BITS):
        yield BlockSlice(block, position if block == here else 0)
    for block in outside(passed, space.first >> BLOCK_BITS, begin - 1 >> BLOCK_BITS) if begin > space.first else ():
        yield BlockSlice(block, 0, position if block == here else BLOCK_SIZE)


def choice(strategy: Strategy, free: FrozenBitMap, count: int) -> FrozenBitMap:
    """Up to *count* of the positions *free*: any if *strategy* is `random`, else the lowest."""
    if strategy is not Strategy.RANDOM or len(free) <= count:
        return free[:count]
    return FrozenBitMap([free[index] for index in random.sample(range(len(free)), count)])


def run_starts(free: FrozenBitMap, count: int) -> FrozenBitMap:
    """Return the positions at which *count* consecutive *free* positions begin, in log2(count) steps."""
    starts, length = free, 1
    while length < count:
        step = min(length, count - length)
        starts &= starts.shift(-step)
        length += step
    return starts


def run_at_end(free: FrozenBitMap) -> int:
    """Return how many of the last positions of a block are free in a row."""
    taken = free.flip(0, BLOCK_SIZE)
    return BLOCK_SIZE - 1 - taken.max() if taken else BLOCK_SIZE


def run_at_start(free: FrozenBitMap) -> int:
    """Return how many of the first positions of a block are free in a row."""
    taken = free.flip(0, BLOCK_SIZE)
    return taken.min() if taken else BLOCK_SIZE
