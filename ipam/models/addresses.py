"""How an address is written in the database: 16 bytes that sort as addresses do."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

Address = IPv4Address | IPv6Address

# IPv4 is kept as an IPv4-mapped IPv6 address (RFC 4291, 2.5.5.2), as RackHD IPAM 1.0 kept it. Mapped addresses
# are refused as IPv6 input, so that the two never meet.
_MAPPED = 0xFFFF << 32


def to_bytes(address: Address) -> bytes:
    """*address* as 16 bytes in network order."""
    value = int(address) if address.version == 6 else _MAPPED | int(address)  # noqa: PLR2004
    return value.to_bytes(16, "big")


def from_bytes(packed: bytes) -> Address:
    """The address that `to_bytes` was given."""
    address = IPv6Address(packed)
    return address.ipv4_mapped or address
