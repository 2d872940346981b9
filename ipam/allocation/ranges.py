"""Arithmetic on ranges of addresses; pure, and as quick for an IPv6 /64 as for a /30.

An *offset* is the distance of an address from the start of its range, in addresses.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Network, ip_address, ip_network

from ipam.errors import Invalid
from ipam.models.addresses import Address

Network = IPv4Network | IPv6Network
# An IPv4 network this long or longer has no network and broadcast address to leave out (RFC 3021).
_POINT_TO_POINT = 31


def parse_address(text: str, pointer: str) -> Address:
    """The address that *text* spells.

    Raises:
        Invalid: If it spells none, carries a zone, or is an IPv4 address in IPv6 form.
    """
    try:
        address = ip_address(text)
    except ValueError:
        raise Invalid.at(pointer, f"{text!r} is not an IPv4 or IPv6 address") from None
    if not isinstance(address, IPv4Address):
        if address.scope_id is not None:
            raise Invalid.at(pointer, f"{text!r} carries a zone; leave out everything from the % on")
        if address.ipv4_mapped is not None:
            raise Invalid.at(pointer, f"{text!r} is an IPv4 address; write {address.ipv4_mapped}")
    return address


def parse_network(text: str, pointer: str) -> Network:
    """The network that *text*, a CIDR, spells.

    Raises:
        Invalid: If it spells none, or has bits set right of its prefix.
    """
    address, slash, length = text.partition("/")
    parse_address(address, pointer)
    if not slash or not (length.isascii() and length.isdigit()):
        raise Invalid.at(pointer, f"{text!r} is not a CIDR such as 10.0.0.0/24 or 2001:db8::/64")
    try:
        loose = ip_network(text, strict=False)
    except ValueError:
        raise Invalid.at(pointer, f"{text!r} is not a CIDR such as 10.0.0.0/24 or 2001:db8::/64") from None
    if str(loose.network_address) != str(ip_address(address)):
        raise Invalid.at(pointer, f"{text!r} has bits set right of its prefix; did you mean {loose}?")
    return loose


def bounds(network: Network) -> tuple[Address, Address]:
    """First and last address to hand out: network and broadcast are left out for IPv4 shorter than /31."""
    first, last = network[0], network[-1]
    if isinstance(first, IPv4Address) and network.prefixlen < _POINT_TO_POINT:
        return first + 1, last - 1
    return first, last


def parse_exclusion(text: str, pointer: str) -> tuple[Address, Address]:
    """First and last address of an exclusion: an address, `first-last` or a CIDR.

    Raises:
        Invalid: If *text* is none of these.
    """
    if "/" in text:
        network = parse_network(text, pointer)
        return network[0], network[-1]
    first, dash, last = text.partition("-")
    low = parse_address(first.strip(), pointer)
    high = parse_address(last.strip(), pointer) if dash else low
    if low.version != high.version:
        raise Invalid.at(pointer, f"{text!r} begins with IPv{low.version} and ends with IPv{high.version}")
    if int(low) > int(high):
        raise Invalid.at(pointer, f"{text!r} begins after its end")
    return low, high


def offset_of(address: Address, start: Address) -> int:
    """Distance of *address* from *start*, in addresses (0 for *start* itself, negative below it)."""
    return int(address) - int(start)


@dataclass(frozen=True, slots=True)
class Space:
    """The addresses of a range that may be handed out, in order.

    Attributes:
        start: The address at offset 0.
        gaps: Offsets `[first, end)` that are left out: sorted, apart from each other, within the range.
        length: Addresses in the range, those left out included.
    """

    start: Address
    length: int
    gaps: tuple[tuple[int, int], ...] = ()

    @classmethod
    def of(cls, start: Address, end: Address, excluded: Iterable[tuple[Address, Address]] = ()) -> Space:
        """The space from *start* to *end* without the inclusive ranges *excluded*."""
        length = offset_of(end, start) + 1
        cut = (
            (max(0, offset_of(low, start)), min(length, offset_of(high, start) + 1))
            for low, high in excluded
            if low.version == start.version
        )
        return cls(start, length, tuple(_merged(gap for gap in cut if gap[0] < gap[1])))

    @property
    def size(self) -> int:
        """How many addresses may be handed out in all."""
        return self.length - sum(end - first for first, end in self.gaps)

    def left(self, cursor: int) -> int:
        """How many may be handed out from offset *cursor* on."""
        return self.length - cursor - sum(end - max(first, cursor) for first, end in self.gaps if end > cursor)

    def take(self, cursor: int, count: int) -> tuple[tuple[tuple[int, int], ...], int]:
        """The first *count* from offset *cursor* on, as runs `(offset, count)`, and the offset after the last.

        There must be as many; see `left`.
        """
        runs: list[tuple[int, int]] = []
        index = bisect_left(self.gaps, cursor, key=lambda gap: gap[1] - 1)
        for first, end in [*self.gaps[index:], (self.length, self.length)]:
            if not count:
                break
            length = min(count, first - cursor)
            if length > 0:
                runs.append((cursor, length))
                cursor, count = cursor + length, count - length
            if count:
                cursor = end
        return tuple(runs), cursor

    def address(self, offset: int) -> Address:
        """The address at *offset*."""
        return self.start + offset


def _merged(gaps: Iterable[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """The same offsets as gaps that are sorted and do not touch."""
    current: tuple[int, int] | None = None
    for first, end in sorted(gaps):
        if current and first <= current[1]:
            current = (current[0], max(current[1], end))
            continue
        if current:
            yield current
        current = (first, end)
    if current:
        yield current
