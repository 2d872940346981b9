"""Arithmetic on ranges of addresses; pure, and as quick for an IPv6 /64 as for a /30."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Network, ip_address, ip_network

from ipam.errors import ValidationFailed
from ipam.models.addresses import MAPPED, Address

Network = IPv4Network | IPv6Network
# A network of so many bits is a link between two, and hands out both addresses (RFC 3021, RFC 6164).
_POINT_TO_POINT_BITS = 1


def parse_allowed_from(text: str, pointer: str) -> str:
    """Return the network that *text* spells, an address or a CIDR, in its normal form.

    Raises:
        ValidationFailed: If it spells none.
    """
    try:
        return str(ip_network(text, strict=False))
    except ValueError:
        raise ValidationFailed.at(pointer, f"is {text!r}; give an address or a CIDR") from None


def parse_address(text: str, pointer: str) -> Address:
    """Return the address that *text* spells.

    Raises:
        ValidationFailed: If it spells none, carries a zone, or is an IPv4 address in IPv6 form.
    """
    try:
        address = ip_address(text)
    except ValueError:
        before, slash, _ = text.partition("/")
        hint = f"; without its prefix length: {before}" if slash else ""
        raise ValidationFailed.at(pointer, f"{text!r} is not an IPv4 or IPv6 address{hint}") from None
    if not isinstance(address, IPv4Address):
        if address.scope_id is not None:
            raise ValidationFailed.at(pointer, f"{text!r} carries a zone; leave out everything from the % on")
        if address.ipv4_mapped is not None:
            raise ValidationFailed.at(pointer, f"{text!r} is an IPv4 address; write {address.ipv4_mapped}")
    return address


def parse_network(text: str, pointer: str) -> Network:
    """Return the network that *text*, a CIDR, spells.

    Raises:
        ValidationFailed: If it spells none, or has bits set right of its prefix.
    """
    address, slash, length = text.partition("/")
    parse_address(address, pointer)
    if not slash or not (length.isascii() and length.isdigit()):
        raise ValidationFailed.at(pointer, f"{text!r} is not a CIDR such as 10.0.0.0/24 or 2001:db8::/64")
    try:
        loose = ip_network(text, strict=False)
    except ValueError:
        raise ValidationFailed.at(pointer, f"{text!r} is not a CIDR such as 10.0.0.0/24 or 2001:db8::/64") from None
    if str(loose.network_address) != str(ip_address(address)):
        raise ValidationFailed.at(pointer, f"{text!r} has bits set right of its prefix; did you mean {loose}?")
    return loose


def bounds(network: Network) -> tuple[Address, Address]:
    """First and last address to hand out.

    Left out are network and broadcast for IPv4 shorter than /31, and for IPv6 shorter than /127 the first one, the
    subnet-router anycast address (RFC 4291, 2.6.1; RFC 6164).
    """
    first, last = network[0], network[-1]
    if network.max_prefixlen - network.prefixlen <= _POINT_TO_POINT_BITS:
        return first, last
    return (first + 1, last - 1) if isinstance(first, IPv4Address) else (first + 1, last)


def parse_exclusion(text: str, pointer: str) -> tuple[Address, Address]:
    """First and last address of an exclusion: an address, `first-last` or a CIDR.

    Raises:
        ValidationFailed: If *text* is none of these.
    """
    if "/" in text:
        network = parse_network(text, pointer)
        return network[0], network[-1]
    first, dash, last = text.partition("-")
    low = parse_address(first.strip(), pointer)
    high = parse_address(last.strip(), pointer) if dash else low
    if low.version != high.version:
        raise ValidationFailed.at(pointer, f"{text!r} begins with IPv{low.version} and ends with IPv{high.version}")
    if int(low) > int(high):
        raise ValidationFailed.at(pointer, f"{text!r} begins after its end")
    return low, high


def normal_exclusion(text: str, pointer: str) -> str:
    """Return *text*, an exclusion, in the one form that exclusions are shown in.

    Raises:
        ValidationFailed: As `parse_exclusion`.
    """
    low, high = parse_exclusion(text, pointer)
    if "/" in text:
        return str(ip_network(text))
    return str(low) if low == high else f"{low}-{high}"


def check_family(start: Address, end: Address, pointer: str) -> None:
    """Refuse an IPv6 range with addresses in it that stand for IPv4 ones (RFC 4291, 2.5.5.2).

    Raises:
        ValidationFailed: If there are any from *start* to *end*.
    """
    first, last = MAPPED
    if not isinstance(start, IPv4Address) and int(start) <= last and int(end) >= first:
        raise ValidationFailed.at(
            pointer, "leads through ::ffff:0:0/96, which stands for IPv4; begin behind or end before it"
        )
