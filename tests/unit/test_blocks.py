"""Laws of the sets of addresses, and of what is found free in them, against plain sets."""

from datetime import UTC, datetime
from ipaddress import ip_address, ip_network
from itertools import pairwise

import pytest
from bson import ObjectId
from hypothesis import given
from hypothesis import strategies as st
from pyroaring import FrozenBitMap

from ipam.allocation.planning import Plan, enter_release
from ipam.allocation.ranges import Space
from ipam.allocation.runs import length, merged, outside, without
from ipam.models.address_sets import BLOCK_SIZE, AddressSet
from ipam.models.addresses import to_number
from ipam.models.blocks import Block
from ipam.models.ledgers import Grant, Ledger, Release

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SUBNET = ObjectId()
addresses = st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6).filter(lambda a: a.ipv4_mapped is None))
small_runs = st.lists(st.tuples(st.integers(0, 40), st.integers(0, 6)), max_size=8).map(
    lambda drawn: [(first, first + more) for first, more in drawn]
)


def numbers(runs):
    return {number for first, last in runs for number in range(first, last + 1)}


@given(st.lists(addresses, max_size=40))
def test_a_set_of_addresses_is_a_set_of_addresses(drawn):
    made = AddressSet.of(drawn)
    assert list(made) == sorted(set(drawn), key=to_number)
    assert len(made) == len(set(drawn))
    assert AddressSet.from_bson(made.to_bson()) == made


def test_a_run_of_65536_addresses_is_stored_in_a_few_bytes():
    packed = AddressSet.of(ip_network("10.0.128.0/17")).to_bson()
    assert [len(positions) < 20 for _, positions in packed] == [True]


@given(small_runs)
def test_merged_runs_have_the_same_numbers_and_do_not_touch(drawn):
    made = merged(drawn)
    assert numbers(made) == numbers(drawn)
    assert length(made) == len(numbers(drawn))
    assert all(later[0] - earlier[1] > 1 for earlier, later in pairwise(made))


@given(small_runs, st.integers(0, 50))
def test_runs_without_a_number_have_all_others(drawn, number):
    made = without(merged(drawn), number)
    assert numbers(made) == numbers(drawn) - {number}
    assert made == merged(made)


@given(small_runs, st.integers(0, 50), st.integers(0, 50))
def test_what_is_outside_of_runs_is_found_in_order(drawn, first, last):
    assert list(outside(merged(drawn), first, last)) == sorted({*range(first, last + 1)} - numbers(drawn))


def test_what_is_outside_is_found_one_by_one_and_not_written_out():
    found = outside(((0, 2**100),), 0, 2**111)
    assert [next(found), next(found)] == [2**100 + 1, 2**100 + 2]


@st.composite
def situations(draw):
    """A subnet across two blocks: its addresses, those excluded, taken, on their way out and back, and a cursor."""
    start = ip_address("10.0.255.240")
    size = draw(st.integers(1, 32))
    inside = [start + n for n in range(size)]
    excluded, taken, going, coming = (
        draw(st.sets(st.sampled_from(inside)).map(lambda drawn, free=free: drawn & free))
        for free in [set(inside)] * 4
    )
    taken -= excluded
    going -= excluded | taken
    coming &= taken
    cursor = draw(st.one_of(st.none(), st.sampled_from(inside)))
    full = draw(st.booleans())
    return inside, excluded, taken, going, coming, cursor, full


def planned(situation):
    inside, excluded, taken, going, coming, cursor, full = situation
    space = Space.of(inside[0], inside[-1], [(one, one) for one in excluded])
    sets = AddressSet.of(taken).blocks
    blocks = {number: Block(subnet=SUBNET, number=number, taken=positions) for number, positions in sets.items()}
    ledger = Ledger(
        version=7,
        used=len(taken | going),
        cursor=None if cursor is None else to_number(cursor),
        grants=(a_grant(going),) if going else (),
        releases=(a_release(coming),) if coming else (),
    )
    reads: list[int] = []

    def read(wanted):
        reads.extend(wanted)
        return {number: blocks.get(number, Block(subnet=SUBNET, number=number)) for number in wanted}

    if full:
        ledger = known_full(ledger, space, read)
        reads.clear()
    return Plan(ledger, space, read, ObjectId(), NOW), reads


def known_full(ledger, space, read):
    """The ledger after somebody has looked at everything that is free."""
    looked = Plan(ledger, space, read, ObjectId(), NOW)
    looked.find(looked.available)
    return looked.ledger


def a_grant(some):
    return Grant(
        batch=ObjectId(), job=ObjectId(), reservation=ObjectId(), addresses=AddressSet.of(some), version=3, at=NOW
    )


def a_release(some):
    return Release(id=ObjectId(), reservation=ObjectId(), addresses=AddressSet.of(some), is_partial=False, at=NOW)


def free_in_turn(situation):
    """From the address after the cursor on, and round."""
    inside, excluded, taken, going, _, cursor, _ = situation
    behind = inside.index(cursor) + 1 if cursor is not None else 0
    return [one for one in inside[behind:] + inside[:behind] if one not in excluded | taken | going]


@given(situations(), st.lists(st.integers(1, 5), max_size=12))
def test_addresses_are_handed_out_in_turn_and_only_free_ones(situation, counts):
    plan, reads = planned(situation)
    expected = free_in_turn(situation)
    assert plan.available == len(expected)
    for count in counts:
        if count > len(expected):
            assert not plan.find(count)
            break
        assert plan.find(count)
        plan.take(ObjectId(), ObjectId(), count)
        given, expected = expected[:count], expected[count:]
        assert set(plan.grants[-1].addresses) == set(given)
        assert (plan.grants[-1].version, plan.ledger.cursor) == (8, to_number(given[-1]))
        assert plan.available == len(expected)
    assert len(reads) == len(set(reads))


@given(situations())
def test_a_block_is_known_as_full_when_nothing_in_it_is_free_nor_comes_back(situation):
    inside, excluded, taken, _, coming, _, _ = situation
    plan, _ = planned((*situation[:6], False))
    plan.find(len(inside) + 1)
    of_block = {}
    for one in inside:
        of_block.setdefault(to_number(one) // BLOCK_SIZE, set()).add(one)
    expected = {number for number, all_ in of_block.items() if all_ <= excluded | taken and not all_ & coming}
    assert numbers(plan.ledger.full) == expected
    for number in expected:
        back = enter_release(plan.ledger, a_release([max(of_block[number], key=to_number)]))
        assert numbers(back.full) == expected - {number}


@pytest.mark.parametrize("cidr", ["10.0.0.0/30", "10.0.0.0/8", "2001:db8::/64", "8000::/1"])
@pytest.mark.parametrize("given", [0, 1])
def test_a_subnet_of_any_size_is_looked_at_in_one_read(cidr, given):
    network = ip_network(cidr)
    space = Space.of(network[0], network[-1], [(network[0], network[0])])
    cursor = space.first + 1 if given else None
    reads = []
    plan = Plan(
        Ledger(cursor=cursor), space, lambda wanted: reads.append(wanted) or some_blocks(wanted), ObjectId(), NOW
    )
    assert plan.find(1)
    plan.take(ObjectId(), ObjectId(), 1)
    assert list(plan.grants[0].addresses) == [network[1 + given]]
    assert [len(wanted) for wanted in reads] == [1]


def test_full_blocks_are_passed_over_without_being_read():
    network = ip_network("10.0.0.0/8")
    space = Space.of(network[0], network[-1])
    first = space.first // BLOCK_SIZE
    ledger = Ledger(used=200 * BLOCK_SIZE, full=((first, first + 199),))
    reads = []
    plan = Plan(ledger, space, lambda wanted: reads.append(wanted) or some_blocks(wanted), ObjectId(), NOW)
    assert plan.find(3)
    assert reads == [{first + 200}]


def test_an_ipv6_subnet_whose_first_half_is_excluded_hands_out_the_other():
    """Its first free address is further from its start than 64 bits can say."""
    network, half = ip_network("2001:db8::/32"), ip_network("2001:db8::/33")
    space = Space.of(network[0], network[-1], [(half[0], half[-1])])
    plan = Plan(Ledger(), space, some_blocks, ObjectId(), NOW)
    assert plan.find(1)
    plan.take(ObjectId(), ObjectId(), 1)
    assert list(plan.grants[0].addresses) == [ip_address("2001:db8:8000::")]
    assert Ledger.from_bson(plan.ledger.to_bson()) == plan.ledger


def some_blocks(wanted):
    return {number: Block(subnet=SUBNET, number=number, taken=FrozenBitMap()) for number in wanted}
