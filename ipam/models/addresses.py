"""Stored forms of an address: 16 bytes that sort as addresses do, or their number."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

Address = IPv4Address | IPv6Address

ADDRESS_BYTES = 16
# IPv4 is kept as an IPv4-mapped IPv6 address (RFC 4291, 2.5.5.2), as RackHD IPAM 1.0 kept it. Mapped addresses
# are refused as IPv6 input, and so is a range that leads through them, so that the two never meet.
_MAPPED = 0xFFFF << 32
MAPPED = (_MAPPED, _MAPPED | 0xFFFFFFFF)


def count_addresses(count: int, family: str = "") -> str:
    """Return *count* in words: `1 address`, `2 IPv6 addresses`."""
    return f"{count} {family}{' ' if family else ''}address{'' if count == 1 else 'es'}"


def to_number(address: Address) -> int:
    """Return *address* as a number of 128 bits, the same for no two addresses of whatever family."""
    return int(address) if isinstance(address, IPv6Address) else _MAPPED | int(address)


def from_number(number: int) -> Address:
    """Return the address that `to_number` was given."""
    return IPv4Address(number & 0xFFFFFFFF) if number >> 32 == _MAPPED >> 32 else IPv6Address(number)


def to_bytes(address: Address) -> bytes:
    """Return *address* as 16 bytes in network order."""
    return to_number(address).to_bytes(ADDRESS_BYTES, "big")


def from_bytes(packed: bytes) -> Address:
    """Return the address that `to_bytes` was given, if it is not one of the mapped ones in an IPv6 range."""
    return from_number(int.from_bytes(packed, "big"))


def to_place(address: Address) -> bytes:
    """Return *address* as 17 bytes that sort by family and then by number, to compare the ends of ranges."""
    return bytes([address.version]) + to_bytes(address)


def from_place(packed: bytes) -> Address:
    """Return the address that `to_place` was given."""
    number = int.from_bytes(packed[1:], "big")
    return IPv6Address(number) if packed[0] == 6 else IPv4Address(number & 0xFFFFFFFF)  # noqa: PLR2004
