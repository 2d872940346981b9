"""Laws of the address arithmetic."""

from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipam.errors import ValidationFailed
from ipam.models.address_set import AddressSet
from ipam.models.address_space import AddressSpace
from ipam.models.addresses import from_bytes, to_bytes
from ipam.models.cidr import bounds, parse_exclusion, parse_network

START = ip_address("10.0.255.230")
addresses = st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6).filter(lambda a: a.ipv4_mapped is None))


@st.composite
def spaces(draw):
    """A range that crosses the border of two blocks, with some left out; and the addresses that are not."""
    size = draw(st.integers(1, 64))
    excluded = draw(st.lists(st.tuples(st.integers(0, 70), st.integers(0, 9)), max_size=6))
    ranges = [(START + first, START + first + more) for first, more in excluded]
    left_out = {START + n for first, more in excluded for n in range(first, first + more + 1)}
    space = AddressSpace.of(START, START + (size - 1), ranges)
    return space, [START + n for n in range(size) if START + n not in left_out]


@given(spaces())
def test_a_space_has_what_is_not_left_out(drawn):
    space, expected = drawn
    assert space.size == len(expected)
    found = {number: space.positions(number) for number in range(space.first >> 16, (space.last >> 16) + 1)}
    assert list(AddressSet.of_blocks(found)) == expected


@pytest.mark.parametrize(
    ("excluded", "closed"),
    [
        ("10.1.0.0/16", [0x0A01]),
        ("10.0.0.0/15", [0x0A00, 0x0A01]),
        ("10.1.0.1-10.1.255.255", []),
        ("10.1.0.1-10.3.255.255", [0x0A02, 0x0A03]),
        ("10.1.0.0-10.3.255.254", [0x0A01, 0x0A02]),
    ],
)
def test_blocks_that_are_left_out_as_a_whole_are_known(excluded, closed):
    space = AddressSpace.of(ip_address("10.0.0.0"), ip_address("10.255.255.255"), [parse_exclusion(excluded, "")])
    assert [n & 0xFFFF for first, last in space.closed for n in range(first, last + 1)] == closed


@given(addresses)
def test_an_address_survives_being_stored(address):
    assert from_bytes(to_bytes(address)) == address


@given(st.lists(st.ip_addresses(v=4), min_size=2, max_size=9))
def test_stored_addresses_sort_as_addresses_do(drawn):
    assert sorted(drawn) == [from_bytes(packed) for packed in sorted(map(to_bytes, drawn))]


@pytest.mark.parametrize(
    ("cidr", "expected"),
    [
        ("10.0.0.0/24", ("10.0.0.1", "10.0.0.254")),
        ("10.0.0.0/30", ("10.0.0.1", "10.0.0.2")),
        ("10.0.0.0/31", ("10.0.0.0", "10.0.0.1")),
        ("10.0.0.7/32", ("10.0.0.7", "10.0.0.7")),
        ("2001:db8::/126", ("2001:db8::1", "2001:db8::3")),
        ("2001:db8::/127", ("2001:db8::", "2001:db8::1")),
        ("2001:db8::7/128", ("2001:db8::7", "2001:db8::7")),
    ],
)
def test_network_and_broadcast_are_left_out_for_ipv4_only(cidr, expected):
    assert tuple(map(str, bounds(ip_network(cidr)))) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("10.0.0.5", ("10.0.0.5", "10.0.0.5")),
        ("10.0.0.5-10.0.0.9", ("10.0.0.5", "10.0.0.9")),
        ("10.0.0.0/30", ("10.0.0.0", "10.0.0.3")),
    ],
)
def test_an_exclusion_is_an_address_a_range_or_a_network(text, expected):
    assert tuple(map(str, parse_exclusion(text, "/exclusions/0"))) == expected


def test_host_bits_are_refused_with_the_network_that_was_meant():
    with pytest.raises(ValidationFailed, match=r"did you mean 10\.0\.0\.0/24\?"):
        parse_network("10.0.0.5/24", "/cidr")
