"""Laws of the sets of addresses, and of what is found free in them, against plain sets."""

from dataclasses import replace
from ipaddress import ip_address, ip_network
from itertools import pairwise

import pytest
from bson import ObjectId
from hypothesis import given
from hypothesis import strategies as st
from pyroaring import FrozenBitMap

from ipam.allocation.planner import SubnetPlan, enter_release
from ipam.errors import WriteConflict
from ipam.models.address_set import BLOCK_SIZE, AddressSet
from ipam.models.addresses import to_number
from ipam.models.block import Block
from ipam.models.intervals import merged, outside, size, without
from ipam.models.ledger import Ledger
from ipam.models.subnet import Strategy
from tests.support.situations import NOW, SUBNET, a_ledger, a_release, situations

# Few below the end of a block.
FIRST = ip_address("10.0.255.200")
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
    assert [made.at(rank) for rank in range(len(made) + 1)] == [*made, None]


@given(st.sets(addresses, max_size=30), st.sets(addresses, max_size=30), st.sets(addresses, max_size=9))
def test_sets_of_addresses_are_joined_and_taken_away_as_sets_are(one, other, both):
    left, right = AddressSet.of(one | both), AddressSet.of(other | both)
    assert left | right == AddressSet.of(one | other | both)
    assert left - right == AddressSet.of((one | both) - (other | both))


@given(st.lists(st.one_of(addresses, st.integers(0, 200).map(FIRST.__add__)), max_size=60), st.integers(1, 9))
def test_address_set_parts_are_all_of_it_in_order_and_full(drawn, size):
    made = AddressSet.of(drawn)
    parts = list(made.parts(size))
    assert [address for part in parts for address in part] == list(made)
    assert all(len(part) == size for part in parts[:-1])
    assert all(0 < len(part) <= size for part in parts)


def test_a_run_of_65536_addresses_is_stored_in_a_few_bytes():
    packed = AddressSet.of(ip_network("10.0.128.0/17")).to_bson()
    assert [len(positions) < 20 for _, positions in packed] == [True]


@given(small_runs)
def test_merged_runs_have_the_same_numbers_and_do_not_touch(drawn):
    made = merged(drawn)
    assert numbers(made) == numbers(drawn)
    assert size(made) == len(numbers(drawn))
    assert all(later[0] - earlier[1] > 1 for earlier, later in pairwise(made))


@given(small_runs, st.integers(0, 50))
def test_runs_without_a_number_have_all_others(drawn, number):
    made = without(merged(drawn), number)
    assert numbers(made) == numbers(drawn) - {number}
    assert made == merged(made)


@given(small_runs, st.integers(0, 50), st.integers(0, 50))
def test_addresses_outside_of_runs_are_found_in_order(drawn, first, last):
    assert list(outside(merged(drawn), first, last)) == sorted({*range(first, last + 1)} - numbers(drawn))


def test_addresses_outside_of_runs_are_not_written_out():
    found = outside(((0, 2**100),), 0, 2**111)
    assert [next(found), next(found)] == [2**100 + 1, 2**100 + 2]


def planned(situation, strategy=Strategy.NEXT, full=()):
    """A plan, and the list of the blocks that it reads; *full* ones are not to be read."""
    reads: list[int] = []

    def read(wanted):
        reads.extend(wanted)
        return {number: situation.blocks.get(number, Block(subnet=SUBNET, number=number)) for number in wanted}

    return SubnetPlan(replace(situation.ledger(strategy), full=full), read, ObjectId(), NOW), reads


def looked_around(situation):
    """The plan of somebody who has looked at all blocks."""
    plan, reads = planned(situation)
    assert plan.pick_run(33, Strategy.LOWEST) is None
    assert len(reads) == len(set(reads))
    return plan


@given(situations(), st.lists(st.integers(1, 5), max_size=12))
def test_addresses_are_handed_out_in_turn_and_only_free_ones(situation, counts):
    plan, reads = planned(situation)
    expected = situation.free_in_turn
    assert plan.available == len(expected)
    for count in counts:
        if count > len(expected):
            # By the ledger there are not so many; a request for more has read an old one.
            with pytest.raises(WriteConflict):
                plan.pick(count, None)
            break
        plan.take(ObjectId(), ObjectId(), plan.pick(count, None))
        given, expected = expected[:count], expected[count:]
        assert set(plan.grants[-1].addresses) == set(given)
        assert (plan.grants[-1].version, plan.ledger.cursor) == (8, to_number(given[-1]))
        assert plan.available == len(expected)
    assert len(reads) == len(set(reads))


@given(situations(), st.sampled_from(Strategy), st.lists(st.integers(1, 5), max_size=12))
def test_every_strategy_hands_out_all_that_is_free_and_each_once(situation, strategy, counts):
    plan, _ = planned(situation, strategy)
    left = set(situation.free)
    for count in (*counts, *[1] * len(left)):
        if count > len(left):
            continue
        pick = plan.pick(count, None)
        given = set(pick.addresses)
        plan.take(ObjectId(), ObjectId(), pick)
        assert (len(given), given - left) == (count, set())
        if strategy is Strategy.LOWEST:
            assert sorted(given) == sorted(left)[:count]
        if strategy is not Strategy.NEXT:
            assert plan.ledger.cursor == situation.ledger().cursor
        left -= given
    assert (plan.available, left) == (0, set())


def runs_of(addresses, count):
    """The lowest addresses of all runs of *count* of *addresses*."""
    return [one for one in addresses if all(one + n in addresses for n in range(count))]


@given(situations(), st.sampled_from(Strategy), st.integers(1, 20))
def test_a_run_is_found_whenever_there_is_one(situation, strategy, count):
    plan, _ = planned(situation, strategy)
    begins = runs_of(set(situation.free), count)
    run = plan.pick_run(count, None)
    if run is None:
        assert begins == []
        return
    given = list(run.addresses)
    assert given == [given[0] + n for n in range(count)]
    assert given[0] in begins
    if strategy is Strategy.LOWEST:
        assert given[0] == min(begins)
    if strategy is Strategy.NEXT:
        inside, cursor = situation.inside, situation.cursor
        cursor = inside[0] - 1 if cursor in (None, inside[-1]) else cursor
        assert given[0] == min((one for one in begins if one > cursor), default=min(begins))
        assert run.cursor == to_number(given[-1])


@pytest.mark.parametrize("count", [1, 2, 65_535, 65_536])
def test_a_run_may_lie_across_two_blocks(count):
    start = ip_address("10.0.255.255")
    run = SubnetPlan(a_ledger(start, start + 65_536), some_blocks, ObjectId(), NOW).pick_run(count, None)
    assert list(run.addresses) == [start + n for n in range(count)]


@given(situations(), st.data())
def test_taken_ones_of_certain_addresses_are_known(situation, data):
    inside = situation.inside
    plan, _ = planned(situation)
    wanted = data.draw(st.sets(st.sampled_from([*inside, inside[0] - 1, inside[-1] + 1]), min_size=1))
    offered = plan.within(AddressSet.of(wanted))
    assert set(offered) == (wanted & set(inside)) - situation.excluded
    assert set(plan.taken(offered)) == set(offered) - set(situation.free)


@given(situations())
def test_a_block_is_known_as_full_when_nothing_in_it_is_free_nor_comes_back(situation):
    plan = looked_around(situation)
    of_block = {}
    for one in situation.inside:
        of_block.setdefault(to_number(one) // BLOCK_SIZE, set()).add(one)
    gone = situation.excluded | situation.taken
    expected = {number for number, all_ in of_block.items() if all_ <= gone and not all_ & situation.coming}
    assert numbers(plan.ledger.full) == expected
    for number in expected:
        back = enter_release(plan.ledger, a_release([max(of_block[number], key=to_number)]))
        assert numbers(back.full) == expected - {number}


@given(situations())
def test_plan_with_known_full_blocks_finds_the_same(situation):
    plan, _ = planned(situation)
    knowing, _ = planned(situation, full=looked_around(situation).ledger.full)
    for _ in situation.free:
        pick = plan.pick(1, None)
        assert knowing.pick(1, None) == pick
        plan.take(ObjectId(), ObjectId(), pick)
        knowing.take(ObjectId(), ObjectId(), pick)


@pytest.mark.parametrize("cidr", ["10.0.0.0/30", "10.0.0.0/8", "2001:db8::/64", "8000::/1"])
@pytest.mark.parametrize("given", [0, 1])
@pytest.mark.parametrize("strategy", Strategy)
def test_a_subnet_of_any_size_is_looked_at_in_one_read(cidr, given, strategy):
    network = ip_network(cidr)
    cursor = to_number(network[1]) if given else None
    reads = []
    ledger = a_ledger(network[0], network[-1], exclusions=(str(network[0]),), cursor=cursor, strategy=strategy)
    plan = SubnetPlan(ledger, lambda wanted: reads.append(wanted) or some_blocks(wanted), ObjectId(), NOW)
    pick = plan.pick(1, None)
    expected = {Strategy.NEXT: network[1 + given], Strategy.LOWEST: network[1]}.get(strategy)
    assert expected in (None, *pick.addresses)
    assert [len(wanted) for wanted in reads] == [1]


def test_full_blocks_are_passed_over_without_being_read():
    network = ip_network("10.0.0.0/8")
    first = to_number(network[0]) // BLOCK_SIZE
    reads = []
    ledger = a_ledger(network[0], network[-1], used=200 * BLOCK_SIZE, full=((first, first + 199),))
    plan = SubnetPlan(ledger, lambda wanted: reads.append(wanted) or some_blocks(wanted), ObjectId(), NOW)
    plan.pick(3, None)
    assert reads == [[first + 200]]


def test_an_ipv6_subnet_whose_first_half_is_excluded_hands_out_the_other():
    """Its first free address is further from its start than 64 bits can say."""
    network, half = ip_network("2001:db8::/32"), ip_network("2001:db8::/33")
    plan = SubnetPlan(a_ledger(network[0], network[-1], exclusions=(str(half),)), some_blocks, ObjectId(), NOW)
    plan.take(ObjectId(), ObjectId(), plan.pick(1, None))
    assert list(plan.grants[0].addresses) == [ip_address("2001:db8:8000::")]
    assert Ledger.from_bson(plan.ledger.to_bson()) == plan.ledger


def test_a_random_address_of_a_large_subnet_may_be_anywhere():
    network = ip_network("10.0.0.0/8")
    ledger = a_ledger(network[0], network[-1], strategy=Strategy.RANDOM)
    picks = [SubnetPlan(ledger, some_blocks, ObjectId(), NOW).pick(1, None) for _ in range(50)]
    assert len({block for pick in picks for block in pick.addresses.blocks}) > 25
    assert len({position for pick in picks for some in pick.addresses.blocks.values() for position in some}) > 45


def some_blocks(wanted):
    return {number: Block(subnet=SUBNET, number=number, taken=FrozenBitMap()) for number in wanted}
