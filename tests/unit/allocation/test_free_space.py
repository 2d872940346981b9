"""Laws of what is shown as free, against plain sets."""

import itertools
from dataclasses import replace
from ipaddress import ip_address, ip_network
from types import SimpleNamespace

import pytest
from bson import ObjectId
from hypothesis import given
from hypothesis import strategies as st

from ipam.allocation.free_space import FreeSpace, network_around
from ipam.allocation.provisioning import SubnetSpec
from ipam.models.pool import Pool
from ipam.storage.query import Query
from tests.support.situations import a_ledger, situations
from tests.support.steps import die_before_writing_to, make_subnet, reserve
from tests.support.stored import leases_of


class Blocks:
    """Stands for the store."""

    def __init__(self, blocks):
        self._blocks = blocks

    def of_subnet(self, _subnet, first, last):
        return (block for number, block in sorted(self._blocks.items()) if first <= number <= last)


def surveying(blocks):
    return FreeSpace(SimpleNamespace(blocks=Blocks(blocks)))


def addresses(run):
    return [run.first + n for n in range(run.size)]


@given(situations(), st.integers(-3, 33))
def test_free_runs_have_all_that_is_free_from_an_address_on_and_do_not_touch(situation, behind):
    begin = situation.inside[0] + behind
    runs = list(surveying(situation.blocks).free_runs([situation.ledger()], begin))
    assert [one for run in runs for one in addresses(run)] == [one for one in situation.free if one >= begin]
    assert all(later.first > earlier.last + 1 for earlier, later in itertools.pairwise(runs))


@given(situations(), st.integers(27, 32))
def test_free_networks_are_all_those_of_which_every_address_is_free(situation, length):
    runs = list(surveying(situation.blocks).free_networks([situation.ledger()], None, length))
    around = {ip_network((int(one), length), strict=False) for one in situation.inside}
    expected = sorted(network for network in around if set(network) <= set(situation.free))
    assert [ip_network((int(run.first), length)) for run in runs] == expected
    assert all(run.size == 1 << (32 - length) for run in runs)


@given(
    situations(),
    st.sampled_from(["10.0.255.240/28", "10.0.255.248/29", "10.0.0.0/15", "10.0.254.0/23", "0.0.0.0/0"]),
)
def test_a_map_counts_what_is_taken_and_what_is_never_handed_out(situation, text):
    network = ip_network(text)
    cells = surveying(situation.blocks).cells(situation.ledger(), network)
    assert len(cells) == min(256, network.num_addresses)
    assert cells[0].network[0] == network[0]
    assert cells[-1].network[-1] == network[-1]
    allowed = set(situation.inside) - situation.excluded
    for cell in cells:
        here = [one for one in allowed if one in cell.network]
        assert cell.used == sum(one in situation.taken | situation.going for one in here)
        assert cell.excluded == cell.network.num_addresses - len(here)


def test_free_space_of_a_large_subnet_is_not_written_out():
    network = ip_network("2001:db8::/32")
    ledger = a_ledger(network[0], network[-1], exclusions=("2001:db8::/48",))
    found = surveying({}).free_networks([ledger], None, 64)
    assert [str(next(found).first) for _ in range(2)] == ["2001:db8:1::", "2001:db8:1:1::"]
    (run,) = surveying({}).free_runs([ledger], None)
    assert run.size == 2**96 - 2**80
    cells = surveying({}).cells(ledger, network)
    assert sum(cell.excluded for cell in cells) == 2**80


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [
        ("10.0.0.1", "10.0.0.254", "10.0.0.0/24"),
        ("10.0.0.7", "10.0.0.7", "10.0.0.7/32"),
        ("10.0.255.255", "10.1.0.0", "10.0.0.0/15"),
        ("::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "::/0"),
    ],
)
def test_a_map_is_of_the_smallest_network_around_a_subnet(start, end, expected):
    assert str(network_around(a_ledger(ip_address(start), ip_address(end)))) == expected


def pages(services, subnet, **wanted) -> list[str]:
    """The addresses of all pages of the leases of *subnet*."""
    found, query = [], Query(limit=3, **wanted).where(subnet=subnet.id)
    while True:
        page = services.free_space.leases(query)
        found += [str(lease.address) for lease in page.items]
        cursor = page.cursor(len(page.items)) if page.items else None
        if cursor is None:
            return found
        query = replace(query, cursor=cursor)


def test_the_leases_of_a_subnet_are_paged_by_what_its_blocks_and_its_ledger_know(services, monkeypatch):
    one, other = make_subnet(services, 20), make_subnet(services, 20)
    jobs = [reserve(services, subnet, 1) for _ in range(8) for subnet in (one, other)]
    services.releaser.release_reservation(jobs[4].reservation)  # The third one of the first subnet.
    expected = [f"10.0.0.{n}" for n in (1, 2, 4, 5, 6, 7, 8)]
    assert pages(services, one) == expected
    with monkeypatch.context() as crash:  # Its lease is written and its block not.
        die_before_writing_to(services, crash, "blocks")
        with pytest.raises(KeyboardInterrupt):
            reserve(services, one, 1)
    assert pages(services, one) == [*expected, "10.0.0.9"]
    last = leases_of(services.stores, jobs[14].reservation)[0]
    services.stores.leases.describe(last.id, lambda lease: replace(lease, name="named"))
    assert pages(services, one, facets=(("name=named",),)) == ["10.0.0.8"]
    assert pages(services, one, conditions=({"revision": 1},)) == [*expected[:-1], "10.0.0.9"]
    assert pages(services, one, conditions=({"reservation": jobs[2].reservation},)) == ["10.0.0.2"]
    assert pages(services, one, conditions=({"reservation": jobs[1].reservation},)) == []


def leases_page(services, subnet: ObjectId, **wanted):
    return services.free_space.leases(Query(**wanted).where(subnet=subnet))


def test_a_cursor_from_elsewhere_leads_to_nothing_but_leases_of_the_subnet(services):
    one, other = make_subnet(services, 20), make_subnet(services, 20)
    for subnet in (one, other):
        reserve(services, subnet, 5)
    of_one = leases_page(services, one.id, limit=2).cursor(2)
    of_other = leases_page(services, other.id, limit=2).cursor(2)
    assert len(leases_page(services, other.id, cursor=of_one).items) == 5  # It sorts before.
    assert leases_page(services, one.id, cursor=of_other).keys == []
    assert leases_page(services, ObjectId()).keys == []


def test_leases_of_an_ipv6_subnet_are_paged_across_its_blocks(services):
    pool = services.provisioner.create_pool(Pool(id=ObjectId()))
    start = ip_address("2001:db8::fffe")
    subnet = services.provisioner.create_subnet(ObjectId(), pool.id, SubnetSpec(start=start, end=start + 2**70))
    reserve(services, subnet, 5)
    assert pages(services, subnet) == [str(start + n) for n in range(5)]


def test_leases_by_a_narrow_filter_are_not_read_by_the_condition_that_they_are_held():
    """The embedded server takes the first name that has an index: by this one it reads all leases that are held."""
    held = {"reservation": {"$exists": True}}
    for query in (
        Query(facets=(("name=a",),)),
        Query(facets=(("name=a",),), conditions=({"subnet": ObjectId()},)),
        Query(conditions=({"_id": {"$in": [b"x"]}},)),
    ):
        assert list(query.to_filter(held))[-1] == "reservation"
