"""Free space of subnets: free ranges, aligned networks, and a map."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from ipaddress import ip_network

from bson import ObjectId
from pyroaring import FrozenBitMap

from ipam.models.address_set import BLOCK_BITS, BLOCK_SIZE, runs_of
from ipam.models.address_space import AddressSpace
from ipam.models.addresses import Address, from_number, to_number
from ipam.models.block import Block
from ipam.models.cidr import Network
from ipam.models.intervals import Run, joined
from ipam.models.lease import Lease
from ipam.models.ledger import Ledger
from ipam.models.reserved_addresses import address_in, lease_key
from ipam.storage.connection import READ_CHUNK, chunks
from ipam.storage.query import Page, Query
from ipam.storage.stores import Stores

# A map shows a network in so many parts at most, 2 to the power of this.
_CELL_BITS = 8
# A subnet of so many blocks at most has them read together with those of others.
_FEW_BLOCKS = 2


@dataclass(frozen=True, slots=True)
class FreeRange:
    """Addresses of a subnet that follow each other and are all free."""

    subnet: ObjectId
    first: Address
    last: Address

    @property
    def size(self) -> int:
        """The number of addresses."""
        return int(self.last) - int(self.first) + 1


@dataclass(frozen=True, slots=True)
class MapCell:
    """A part of a subnet's map.

    Attributes:
        used: How many of its addresses are taken.
        excluded: How many are never handed out, those outside of the subnet's range included.
    """

    network: Network
    used: int
    excluded: int


class FreeSpace:
    """Looks at subnets without taking anything; what it says may be out of date as soon as it is said."""

    def __init__(self, stores: Stores) -> None:
        self._stores = stores

    def free_runs(self, ledgers: Iterable[Ledger], begin: Address | None) -> Iterator[FreeRange]:
        """Yield the free runs of the subnets with *ledgers*, from *begin* on, each as long as can be.

        They come in the order of *ledgers*, and are found as they are asked for; only blocks that were ever touched
        are read.
        """
        for ledger in ledgers:
            space = ledger.space
            if begin is not None and begin.version == ledger.start.version:
                space = space.within(to_number(begin), space.last)
            for first, last in joined(self._free_pieces(ledger, space)):
                yield FreeRange(ledger.id, from_number(first), from_number(last))

    def free_networks(self, ledgers: Iterable[Ledger], begin: Address | None, length: int) -> Iterator[FreeRange]:
        """Yield the networks with a prefix of *length* bits of which every address is free; see `free_runs`."""
        for run in self.free_runs((one for one in ledgers if one.start.max_prefixlen >= length), begin):
            size = 1 << (run.first.max_prefixlen - length)
            end = int(run.last) + 1
            for first in range(-(-int(run.first) // size) * size, end - size + 1, size):
                low = type(run.first)(first)
                yield FreeRange(run.subnet, low, low + (size - 1))

    def leases(self, query: Query) -> Page[Lease]:
        """Return a page of the leases that are held, by subnet, lowest address first.

        Leases have no index but that of their keys, so the keys come from the narrowest source that knows them: the
        addresses asked for, the reservation, the marks of leases that users wrote on, or the blocks and the ledgers
        of subnets. A page costs what is on it, however many leases there are or ever were.
        """
        after = self._stores.leases.after(query) or b""
        wanted = query.by_field
        if "_id" in wanted:
            keys: Iterable[bytes] = sorted(wanted["_id"]["$in"])
        elif "reservation" in wanted:
            keys = self._keys_of_reservation(wanted["reservation"])
        elif query.facets:
            keys = self._stores.leases.marked(query)
        elif "subnet" in wanted:
            ledger = self._stores.ledgers.find(wanted["subnet"])
            keys = self._keys_of_subnets([ledger] if ledger else [], after)
        else:
            first = ObjectId(after[:12]) if after else None
            keys = self._keys_of_subnets(self._stores.ledgers.in_order(wanted.get("pool"), first), after)
        return self._stores.leases.page_among(query.without("_id"), (key for key in keys if key > after))

    def _keys_of_reservation(self, id_: ObjectId) -> Iterator[bytes]:
        """Yield the keys that leases of a reservation may have, ascending."""
        for reservation in self._stores.reservations.get_many([id_]).values():
            yield from reservation.lease_keys()

    def _keys_of_subnets(self, ledgers: Iterable[Ledger], after: bytes) -> Iterator[bytes]:
        """Yield the keys that leases of the subnets with *ledgers*, which ascend by id, may have, ascending.

        They begin with about *after*.

        The blocks of small subnets are read together: there may be thousands that have a lease or two.
        """
        for some in chunks(ledgers, READ_CHUNK):
            used = [ledger for ledger in some if ledger.used]
            small = {ledger.id: numbers for ledger in used if (numbers := _few_blocks(ledger))}
            read = self._stores.blocks.read_many(
                (id_, number) for id_, numbers in small.items() for number in numbers
            )
            for ledger in used:
                first, last = to_number(ledger.start), to_number(ledger.end)
                if (address := address_in(after, ledger.id)) is not None:
                    first = max(first, to_number(address) + 1)
                blocks = read.get(ledger.id, ()) if ledger.id in small else None
                yield from (lease_key(ledger.id, address) for address in self._held(ledger, first, last, blocks))

    def _held(self, ledger: Ledger, first: int, last: int, blocks: Iterable[Block] | None) -> Iterator[Address]:
        """Yield the addresses from number *first* to *last* that leases may have; *blocks* as in `_taken`."""
        for number, taken in self._taken(ledger, first, last, blocks):
            base = number << BLOCK_BITS
            yield from (from_number(base + position) for position in taken if first <= base + position <= last)

    def cells(self, ledger: Ledger, network: Network) -> list[MapCell]:
        """Return *network* in up to 256 parts of one size, each with what the subnet with *ledger* has in it."""
        longer = min(_CELL_BITS, network.max_prefixlen - network.prefixlen)
        width = network.num_addresses >> longer
        begin, space = to_number(network[0]), ledger.space.within(to_number(network[0]), to_number(network[-1]))
        used = [0] * (1 << longer)
        for number, taken in self._taken(ledger, space.first, space.last):
            _count(taken & space.positions(number), (number << BLOCK_BITS) - begin, width, used)
        parts: list[Network] = list(network.subnets(longer))
        return [
            MapCell(part, count, width - space.within(to_number(part[0]), to_number(part[-1])).size)
            for part, count in zip(parts, used, strict=True)
        ]

    def _taken(
        self, ledger: Ledger, low: int, high: int, blocks: Iterable[Block] | None = None
    ) -> Iterator[tuple[int, FrozenBitMap]]:
        """Yield what is not free, by block, ascending, in those of the numbers from *low* to *high*.

        Blocks of which nothing was ever taken are left out. *blocks* are those of the subnet that are stored, if
        they were read before.
        """
        first, last = low >> BLOCK_BITS, high >> BLOCK_BITS
        entered = {number for entry in ledger.entries for number in entry.addresses.blocks}
        coming = sorted(number for number in entered if first <= number <= last)
        for block in self._stores.blocks.of_subnet(ledger.id, first, last) if blocks is None else blocks:
            while coming and coming[0] < block.number:
                yield coming[0], ledger.on_its_way(coming.pop(0))
            if coming and coming[0] == block.number:
                coming.pop(0)
            yield block.number, block.taken | ledger.on_its_way(block.number)
        yield from ((number, ledger.on_its_way(number)) for number in coming)

    def _free_pieces(self, ledger: Ledger, space: AddressSpace) -> Iterator[Run]:
        """Yield what is free as runs, ascending; two may touch where a block begins."""
        begin = space.first
        for number, taken in self._taken(ledger, space.first, space.last):
            base = number << BLOCK_BITS
            yield from space.within(begin, base - 1).runs
            for low, high in runs_of(space.positions(number) - taken):
                yield base + low, base + high
            begin = base + BLOCK_SIZE
        yield from space.within(begin, space.last).runs


def network_around(ledger: Ledger) -> Network:
    """Return the smallest network that has all addresses of the subnet with *ledger*."""
    differing = (int(ledger.start) ^ int(ledger.end)).bit_length()
    return ip_network((ledger.start, ledger.start.max_prefixlen - differing), strict=False)


def _few_blocks(ledger: Ledger) -> Sequence[int]:
    """Return the numbers of the blocks that a subnet lies in; none if these are more than a few."""
    first, last = to_number(ledger.start) >> BLOCK_BITS, to_number(ledger.end) >> BLOCK_BITS
    return range(first, last + 1) if last - first < _FEW_BLOCKS else ()


def _count(taken: FrozenBitMap, offset: int, width: int, used: list[int]) -> None:
    """Add to each cell of *used* how many positions of a block lie in it; the block begins at *offset*."""
    if width >= BLOCK_SIZE:
        if taken:
            used[offset // width] += len(taken)
        return
    for cell in range(max(offset, 0) // width, min((offset + BLOCK_SIZE) // width, len(used))):
        first = cell * width - offset
        used[cell] += taken.range_cardinality(first, first + width)
