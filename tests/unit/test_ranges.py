"""Laws of the address arithmetic."""

from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipam.allocation.ranges import Space, bounds, parse_exclusion, parse_network
from ipam.errors import Invalid
from ipam.models.addresses import from_bytes, to_bytes

START = ip_address("10.0.0.0")
addresses = st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6).filter(lambda a: a.ipv4_mapped is None))


@st.composite
def spaces(draw):
    """A range of up to 64 addresses with some left out, and the offsets that are not."""
    length = draw(st.integers(1, 64))
    excluded = draw(st.lists(st.tuples(st.integers(-5, 70), st.integers(0, 9)), max_size=6))
    ranges = [(START + max(0, first), START + max(0, first) + size) for first, size in excluded]
    left_out = {
        offset for low, high in ranges for offset in range(int(low) - int(START), int(high) - int(START) + 1)
    }
    space = Space.of(START, START + (length - 1), ranges)
    return space, [offset for offset in range(length) if offset not in left_out]


@given(spaces())
def test_the_size_is_what_is_not_left_out(drawn):
    space, offsets = drawn
    assert space.size == len(offsets)


@given(spaces(), st.integers(0, 64))
def test_what_is_left_and_what_is_taken_agree_with_counting(drawn, start):
    space, offsets = drawn
    cursor = min(start, space.length)
    ahead = [offset for offset in offsets if offset >= cursor]
    assert space.left(cursor) == len(ahead)
    for count in range(len(ahead) + 1):
        runs, after = space.take(cursor, count)
        assert [first + n for first, length in runs for n in range(length)] == ahead[:count]
        assert space.left(after) == len(ahead) - count


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
        ("2001:db8::/126", ("2001:db8::", "2001:db8::3")),
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
    with pytest.raises(Invalid, match=r"did you mean 10\.0\.0\.0/24\?"):
        parse_network("10.0.0.5/24", "/cidr")


def test_a_slash_8_and_a_slash_64_cost_no_more_than_a_slash_30():
    """Nothing is written out: no structure grows with the size."""
    for cidr in ("10.0.0.0/30", "10.0.0.0/8", "2001:db8::/64", "::/1"):
        network = ip_network(cidr)
        space = Space.of(network[0], network[-1], [(network[1], network[1])])
        assert (space.size, space.gaps) == (network.num_addresses - 1, ((1, 2),))
        assert space.take(0, 2) == (((0, 1), (2, 1)), 3)
