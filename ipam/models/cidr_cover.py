"""CIDR covers: the prefixes of a range, kept as keys, by which subnets and events are found by an address in it.

A range is written as the few prefixes (CIDRs) that make it up. An address lies in one prefix of each length, so the
prefixes that may hold it are few as well, and equality finds them, which any server answers by an index.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from ipaddress import ip_address, ip_network
from typing import Any

from bson import ObjectId

from ipam.models.addresses import ADDRESS_BYTES, MAPPED, Address, to_number
from ipam.models.event import Event

Range = tuple[Address, Address]

# The events by which an address is taken, or comes back alone.
TURNS = ("ipam.reservation.created", "ipam.lease.released")
_BITS = 8 * ADDRESS_BYTES
# In the place of a pool, for the ranges of subnets: an address is looked for in all pools.
_SUBNETS = bytes(12)
# Addresses that lie scattered are found by shorter prefixes, which hold others as well: what is found is looked at.
_MOST = 256
_COARSER_BITS = 4


def prefixes_of_all(events: Iterable[Event]) -> list[bytes]:
    """Return the keys of those *events* that say whose an address is or in which subnet it lies; ascending."""
    return sorted(set[bytes]().union(*map(_prefixes_of, events)))


def prefixes_of_subnet(held: Range) -> list[bytes]:
    """Return the keys of a subnet that has *held*, its first and last address, against others; ascending."""
    return sorted(_keys(_SUBNETS, [held]))


def around_in_subnets(address: Address) -> list[bytes]:
    """Keys that a subnet, and an event about it, has, one of them at least, if *address* lies in that subnet."""
    return list(_around(_SUBNETS, address))


def around_in_pool(pool: ObjectId, address: Address) -> list[bytes]:
    """Keys that an event has, one of them at least, by which *address* was taken from *pool* or came back."""
    return list(_around(pool.binary, address))


def range_of_subnet(data: dict[str, Any]) -> Range:
    """Return the first and last address that a subnet, as events show it, holds against others."""
    if data["cidr"]:
        network = ip_network(data["cidr"])
        return network[0], network[-1]
    return ip_address(data["start"]), ip_address(data["end"])


def ranges_of_holding(data: dict[str, Any]) -> list[Range]:
    """Return the addresses of a lease, or of a reservation just made, as events show them."""
    spelled = data["addresses"] if "addresses" in data else [data["address"]]
    runs = (text.partition("-") for text in spelled)
    return [(ip_address(first), ip_address(last or first)) for first, _, last in runs]


def lies_in(address: Address, ranges: Iterable[Range]) -> bool:
    """Return whether *address* is in one of *ranges*."""
    number = int(address)
    return any(first.version == address.version and int(first) <= number <= int(last) for first, last in ranges)


def _prefixes_of(event: Event) -> set[bytes]:
    if event.type.startswith("ipam.subnet."):
        now = event.read()
        return _keys(_SUBNETS, map(range_of_subnet, (now, {**now, **now.get("before", {})})))
    if event.type in TURNS:
        pool = ObjectId(event.paths[-1].removeprefix("/pools/"))
        return _keys(pool.binary, ranges_of_holding(event.read()))
    return set()


def _keys(scope: bytes, ranges: Iterable[Range]) -> set[bytes]:
    blocks = {block for first, last in ranges for block in _blocks(to_number(first), to_number(last))}
    host_bits = 0
    while len(blocks) > _MOST:
        host_bits += _COARSER_BITS
        blocks = {(max(bits, host_bits), number >> host_bits << host_bits) for bits, number in blocks}
    return {_key(scope, bits, number) for bits, number in blocks}


def _blocks(first: int, last: int) -> Iterator[tuple[int, int]]:
    """Yield the fewest aligned blocks that make up a range, each by its varying bits and its first address."""
    while first <= last:
        aligned = (first & -first).bit_length() - 1 if first else _BITS
        bits = min(aligned, (last - first + 1).bit_length() - 1)
        yield bits, first
        first += 1 << bits


def _around(scope: bytes, address: Address) -> Iterator[bytes]:
    number = to_number(address)
    # What holds IPv4 addresses is never shorter than the prefix that maps them.
    longest = _BITS if address.version == 6 else (MAPPED[1] - MAPPED[0]).bit_length()  # noqa: PLR2004
    for bits in range(longest + 1):
        yield _key(scope, bits, number >> bits << bits)


def _key(scope: bytes, bits: int, number: int) -> bytes:
    return scope + bytes([bits]) + number.to_bytes(ADDRESS_BYTES, "big")
