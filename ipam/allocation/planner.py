"""Deciding which addresses a batch of requests gets from a subnet; pure but for chance and for reading its blocks.

It costs the same however large or full the subnet is: blocks are looked at until enough is free in them, those in
which nothing is free are known beforehand, and what is free in one is an operation on its bitmap.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import chain, islice

from bson import ObjectId
from pyroaring import FrozenBitMap

from ipam.allocation.strategies import (
    BlockSlice,
    choice,
    run_at_end,
    run_at_start,
    run_starts,
    scan_order,
    scattered,
)
from ipam.errors import WriteConflict
from ipam.models.address_set import BLOCK_BITS, BLOCK_SIZE, EMPTY, AddressSet
from ipam.models.block import Block
from ipam.models.intervals import merged, without
from ipam.models.ledger import Grant, Ledger, Release
from ipam.models.subnet import Strategy

# Slices looked at together: the first one usually has what is wanted; where it has not, many are read at once.
_LOT_FIRST = 1
_LOT_GROWS = 4
_LOT_LARGEST = 64
# Blocks that the addresses of one request are scattered over, at most.
_SCATTERED = 64

Read = Callable[[Collection[int]], Mapping[int, Block]]


@dataclass(frozen=True, slots=True)
class Selection:
    """Free addresses of a subnet; *cursor* is where the ledger's is to be once they are taken."""

    addresses: AddressSet
    cursor: int | None


class SubnetPlan:
    """The plan of what the requests of a batch take from a subnet.

    Args:
        ledger: As it was read.
        read: Reads blocks, by number; called after the ledger was read.
        batch: Token of the claim that the grants are made under; None if they count as they stand.
        now: The time that they get.

    Attributes:
        ledger: As the batch would leave it, but for its version.
        blocks: Those that were read.
    """

    def __init__(self, ledger: Ledger, read: Read, batch: ObjectId | None, now: datetime) -> None:
        self.ledger = ledger
        self.grants: list[Grant] = []
        self.blocks: dict[int, Block] = {}
        self._space = ledger.space
        self._read = read
        self._batch = batch
        self._now = now
        self._free: dict[int, FrozenBitMap] = {}

    @property
    def available(self) -> int:
        """The number of addresses that can still be taken, by the ledger's count."""
        return self._space.size - self.ledger.used

    def pick(self, count: int, strategy: Strategy | None) -> Selection:
        """Return *count* free addresses, of which there must be as many `available`.

        Raises:
            WriteConflict: If they are not to be found: the blocks have changed since the ledger was read.
        """
        strategy = strategy or self.ledger.strategy
        picked: dict[int, FrozenBitMap] = {}
        cursor, left = self.ledger.cursor, count
        for part, most in self._shares(strategy, count):
            free = part.of(self._free[part.block]) - picked.get(part.block, EMPTY)
            some = choice(strategy, free, min(left, most))
            if some:
                picked[part.block] = picked.get(part.block, EMPTY) | some
                cursor, left = part.block << BLOCK_BITS | some.max(), left - len(some)
            if not left:
                return self._pick(picked, strategy, cursor)
        raise WriteConflict(f"Blocks of subnet {self.ledger.id} have changed since its ledger was read.")

    def pick_run(self, count: int, strategy: Strategy | None) -> Selection | None:
        """Return *count* free addresses that follow each other; None if there is no such run.

        They are 65,536 at most: so a run lies in one block or in two.
        """
        strategy = strategy or self.ledger.strategy
        before: tuple[int, int] = (-1, 0)  # The number of the block before, and how long the run at its end is.
        # Once more from the beginning: a run may lie across the place where the strategy began.
        for part in chain(self._slices(strategy), self._slices(Strategy.LOWEST)):
            free = part.of(self._free[part.block])
            open_, head = before[1] if before[0] == part.block - 1 else 0, run_at_start(free)
            if open_ and open_ + head >= count:
                return self._run((part.block << BLOCK_BITS) - open_, count, strategy)
            if starts := run_starts(free, count):
                first = choice(strategy, starts, 1).min()
                return self._run(part.block << BLOCK_BITS | first, count, strategy)
            before = part.block, run_at_end(free)
        return None

    def within(self, addresses: AddressSet) -> AddressSet:
        """Return those of *addresses* that the subnet may hand out."""
        return AddressSet.of_blocks(
            {number: self._space.positions(number) & some for number, some in addresses.blocks.items()}
        )

    def taken(self, addresses: AddressSet) -> AddressSet:
        """Return those of *addresses*, which the subnet may hand out, that are not free."""
        self._look_at(addresses.blocks.keys())
        return AddressSet.of_blocks(
            {number: some - self._free[number] for number, some in addresses.blocks.items()}
        )

    def pick_these(self, addresses: AddressSet) -> Selection:
        """Return a selection of exactly *addresses*, which are free."""
        return Selection(addresses, self.ledger.cursor)

    def take(self, job: ObjectId, reservation: ObjectId, pick: Selection) -> None:
        """Take for a job what was picked last."""
        grant = Grant(
            batch=self._batch,
            job=job,
            reservation=reservation,
            addresses=pick.addresses,
            version=self.ledger.version + 1,
            at=self._now,
        )
        for number, positions in pick.addresses.blocks.items():
            self._free[number] -= positions
        self.grants.append(grant)
        self.ledger = replace(
            self.ledger,
            cursor=pick.cursor,
            used=self.ledger.used + len(pick.addresses),
            grants=(*self.ledger.grants, grant),
        )

    def _run(self, first: int, count: int, strategy: Strategy) -> Selection:
        last = first + count - 1
        blocks: dict[int, FrozenBitMap] = {}
        for number in range(first >> BLOCK_BITS, (last >> BLOCK_BITS) + 1):
            base = number << BLOCK_BITS
            blocks[number] = FrozenBitMap(range(max(first - base, 0), min(last - base + 1, BLOCK_SIZE)))
        return self._pick(blocks, strategy, last)

    def _pick(self, blocks: Mapping[int, FrozenBitMap], strategy: Strategy, cursor: int | None) -> Selection:
        # Only `next` has a cursor to move: what is picked otherwise says nothing about whose turn it is.
        return Selection(AddressSet.of_blocks(blocks), cursor if strategy is Strategy.NEXT else self.ledger.cursor)

    def _shares(self, strategy: Strategy, count: int) -> Iterator[tuple[BlockSlice, int]]:
        """Yield slices of blocks in the order of *strategy*, each with how many of *count* addresses it may give.

        `random` scatters what one request gets over the subnet, as it does what several get; over so many blocks at
        most, for each is read and written. What these do not have is taken wherever it is.
        """
        drawn = min(count, _SCATTERED)
        if strategy is Strategy.RANDOM and drawn > 1 and self._space.last - self._space.first >= BLOCK_SIZE:
            some = scattered(self._space, self.ledger.full, drawn)
            self._look_at({part.block for part in some})
            yield from ((part, -(-count // drawn) * times) for part, times in some.items())
        yield from ((part, count) for part in self._slices(strategy))

    def _slices(self, strategy: Strategy) -> Iterator[BlockSlice]:
        """Yield the slices of blocks in the order of *strategy*, after reading what is free in them."""
        coming = scan_order(strategy, self._space, self.ledger.full, self.ledger.cursor)
        lot = _LOT_FIRST
        while some := list(islice(coming, lot)):
            self._look_at({part.block for part in some})
            yield from some
            lot = min(lot * _LOT_GROWS, _LOT_LARGEST)

    def _look_at(self, numbers: Collection[int]) -> None:
        unseen = [number for number in numbers if number not in self._free]
        coming_back = {number for release in self.ledger.releases for number in release.addresses.blocks}
        full: list[tuple[int, int]] = []
        read = self._read(unseen) if unseen else {}
        self.blocks.update(read)
        for number, block in read.items():
            free = self._space.positions(number) - block.taken
            if not free and number not in coming_back:
                full.append((number, number))
            self._free[number] = free - self.ledger.on_its_way(number)
        if full:
            self.ledger = replace(self.ledger, full=merged((*self.ledger.full, *full)))


def enter_release(ledger: Ledger, release: Release) -> Ledger:
    """Return the ledger with *release* begun: its addresses still count as used, but its blocks not as full."""
    full = ledger.full
    for number in release.addresses.blocks:
        full = without(full, number)
    return replace(ledger, full=full, releases=(*ledger.releases, release))
