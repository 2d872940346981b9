"""Address spaces: ranges of addresses without gateway and exclusions.

Every operation is as quick for an IPv6 /64 as for a /30.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from operator import itemgetter

from pyroaring import BitMap, FrozenBitMap

from ipam.models.address_set import BLOCK_BITS, BLOCK_SIZE, EMPTY
from ipam.models.addresses import Address, to_number
from ipam.models.cidr import parse_exclusion
from ipam.models.intervals import Run, Runs, merged, size


@dataclass(frozen=True, slots=True)
class AddressSpace:
    """The addresses of a range that may be handed out, as the numbers that `to_number` makes of them.

    Attributes:
        first: The first address of the range.
        last: The last one.
        gaps: Runs that are left out.
    """

    first: int
    last: int
    gaps: Runs = ()

    @classmethod
    def of(cls, start: Address, end: Address, excluded: Iterable[tuple[Address, Address]] = ()) -> AddressSpace:
        """Return the space from *start* to *end* without the inclusive ranges *excluded*."""
        first, last = to_number(start), to_number(end)
        left_out = [(to_number(low), to_number(high)) for low, high in excluded if low.version == start.version]
        cut = ((max(first, low), min(last, high)) for low, high in left_out)
        return cls(first, last, merged(gap for gap in cut if gap[0] <= gap[1]))

    @classmethod
    def of_subnet(
        cls, start: Address, end: Address, gateway: Address | None, exclusions: Sequence[str]
    ) -> AddressSpace:
        """Return the space from *start* to *end* without the *gateway* and the *exclusions*, as users spell these.

        Raises:
            ValidationFailed: If an exclusion is not spelled as one.
        """
        excluded = [parse_exclusion(text, f"/exclusions/{index}") for index, text in enumerate(exclusions)]
        if gateway is not None:
            excluded.append((gateway, gateway))
        return cls.of(start, end, excluded)

    @property
    def size(self) -> int:
        """The number of addresses that can be leased."""
        return self.last - self.first + 1 - size(self.gaps)

    @property
    def runs(self) -> Runs:
        """The runs of addresses that can be leased."""
        found: list[Run] = []
        begin = self.first
        for first, last in (*self.gaps, (self.last + 1, self.last + 1)):
            if begin < first:
                found.append((begin, first - 1))
            begin = last + 1
        return tuple(found)

    def within(self, first: int, last: int) -> AddressSpace:
        """Return the part from *first* to *last*; there may be nothing in it."""
        first, last = max(first, self.first), min(last, self.last)
        begin = bisect_left(self.gaps, first, key=itemgetter(1))
        end = bisect_right(self.gaps, last, key=itemgetter(0))
        gaps = tuple((max(low, first), min(high, last)) for low, high in self.gaps[begin:end])
        return AddressSpace(first, last, gaps) if first <= last else AddressSpace(first, first - 1)

    @property
    def closed(self) -> Runs:
        """The blocks that lie in a gap as a whole."""
        blocks = (((first - 1 >> BLOCK_BITS) + 1, (last + 1 >> BLOCK_BITS) - 1) for first, last in self.gaps)
        return tuple(run for run in blocks if run[0] <= run[1])

    def positions(self, block: int) -> FrozenBitMap:
        """Return which positions of *block* may be handed out; see `AddressSet`."""
        base = block << BLOCK_BITS
        first, last = max(self.first, base), min(self.last, base + BLOCK_SIZE - 1)
        if first > last:
            return EMPTY
        positions = BitMap(range(first - base, last - base + 1))
        for low, high in self.gaps[bisect_left(self.gaps, first, key=itemgetter(1)) :]:
            if low > last:
                break
            positions.remove_range(max(low, first) - base, min(high, last) - base + 1)
        return FrozenBitMap(positions)
