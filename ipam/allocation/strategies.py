"""In which order a subnet's addresses are looked at; pure.

A *window* is a part of a block: its number, its first position and the one after its last.
"""

from __future__ import annotations

from collections.abc import Iterator

from ipam.allocation.ranges import Space
from ipam.allocation.runs import Runs, merged, outside
from ipam.models.address_sets import BLOCK_BITS, BLOCK_SIZE

Window = tuple[int, int, int]


def next_windows(space: Space, full: Runs, cursor: int | None) -> Iterator[Window]:
    """From the address after *cursor* to the end, then from the beginning to *cursor*, without the *full* blocks.

    So an address that was given back is handed out again as late as the size of the subnet allows.
    """
    after = space.first if cursor is None or not space.first <= cursor < space.last else cursor + 1
    here, position = after >> BLOCK_BITS, after % BLOCK_SIZE
    passed = merged((*full, *space.closed))
    for block in outside(passed, here, space.last >> BLOCK_BITS):
        yield block, position if block == here else 0, BLOCK_SIZE
    for block in outside(passed, space.first >> BLOCK_BITS, after - 1 >> BLOCK_BITS) if after > space.first else ():
        yield block, 0, position if block == here else BLOCK_SIZE
