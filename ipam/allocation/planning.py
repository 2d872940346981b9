"""Deciding which addresses a batch of requests gets from a subnet; pure but for reading its blocks.

It costs the same however large or full the subnet is: blocks are looked at until enough is free in them, those in
which nothing is free are known beforehand, and what is free in one is an operation on its bitmap.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from datetime import datetime
from itertools import islice

from bson import ObjectId
from pyroaring import FrozenBitMap

from ipam.allocation.ranges import Space
from ipam.allocation.runs import merged, without
from ipam.allocation.strategies import next_windows
from ipam.models.address_sets import BLOCK_BITS, EMPTY, AddressSet
from ipam.models.blocks import Block
from ipam.models.ledgers import Grant, Ledger, Release

# Windows looked at together: the first one usually has what is wanted; where it has not, many are read at once.
_LOT_FIRST = 1
_LOT_GROWS = 4
_LOT_LARGEST = 64

Read = Callable[[Collection[int]], Mapping[int, Block]]


class Plan:
    """A ledger, and what the requests of a batch would take from it.

    Args:
        ledger: As it was read.
        space: The addresses that its subnet may hand out.
        read: Reads blocks, by number; called after *ledger* was read.
        batch: Token of the claim that the grants are made under.
        now: The time that they get.
    """

    def __init__(self, ledger: Ledger, space: Space, read: Read, batch: ObjectId, now: datetime) -> None:
        self._ledger = ledger
        self._space = space
        self._read = read
        self._batch = batch
        self._now = now
        self._version = ledger.version + 1
        self._windows = next_windows(space, ledger.full, ledger.cursor)
        self._lot = _LOT_FIRST
        self._free: dict[int, FrozenBitMap] = {}
        self._found: deque[tuple[int, FrozenBitMap]] = deque()
        self.grants: list[Grant] = []

    @property
    def available(self) -> int:
        """How many addresses can still be taken, by the ledger's count."""
        return self._space.size - self._ledger.used

    @property
    def ledger(self) -> Ledger:
        """The ledger as the batch would leave it."""
        return self._ledger

    def find(self, count: int) -> bool:
        """Look until *count* free addresses are at hand; False if that many are not to be found.

        There are as many as are `available`, unless the blocks have changed since the ledger was read.
        """
        while self._at_hand < count:
            windows = list(islice(self._windows, self._lot))
            if not windows:
                return False
            self._lot = min(self._lot * _LOT_GROWS, _LOT_LARGEST)
            self._look_at({number for number, _, _ in windows} - self._free.keys())
            for number, first, end in windows:
                self._found.append((number, self._free[number] & FrozenBitMap(range(first, end))))
        return True

    def take(self, job: ObjectId, reservation: ObjectId, count: int) -> None:
        """Take *count* of the addresses that were found, of which there must be as many, for a job."""
        taken: dict[int, FrozenBitMap] = {}
        left, cursor = count, self._ledger.cursor
        while left:
            number, free = self._found.popleft()
            some = free[:left]
            if some:
                taken[number] = taken.get(number, EMPTY) | some
                left, cursor = left - len(some), number << BLOCK_BITS | some.max()
            if len(some) < len(free):
                self._found.appendleft((number, free - some))
        grant = Grant(
            batch=self._batch,
            job=job,
            reservation=reservation,
            addresses=AddressSet.of_blocks(taken),
            version=self._version,
            at=self._now,
        )
        self.grants.append(grant)
        self._ledger = replace(
            self._ledger, cursor=cursor, used=self._ledger.used + count, grants=(*self._ledger.grants, grant)
        )

    @property
    def _at_hand(self) -> int:
        return sum(len(free) for _, free in self._found)

    def _look_at(self, numbers: Collection[int]) -> None:
        coming_back = {number for release in self._ledger.releases for number in release.addresses.blocks}
        full: list[tuple[int, int]] = []
        for number, block in self._read(numbers).items() if numbers else ():
            free = self._space.positions(number) - block.taken
            if not free and number not in coming_back:
                full.append((number, number))
            self._free[number] = free - self._ledger.on_its_way(number)
        if full:
            self._ledger = replace(self._ledger, full=merged((*self._ledger.full, *full)))


def enter_release(ledger: Ledger, release: Release) -> Ledger:
    """The ledger with *release* begun: its addresses still count as used, but its blocks not as full."""
    full = ledger.full
    for number in release.addresses.blocks:
        full = without(full, number)
    return replace(ledger, full=full, releases=(*ledger.releases, release))
