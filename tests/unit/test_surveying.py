"""Laws of what is shown as free, against plain sets."""

import itertools
from ipaddress import ip_address, ip_network
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipam.allocation.surveying import Surveying, network_around
from tests.unit.situations import a_subnet, situations


class Blocks:
    """Stands for the store."""

    def __init__(self, blocks):
        self._blocks = blocks

    def of_subnet(self, _subnet, first, last):
        return (block for number, block in sorted(self._blocks.items()) if first <= number <= last)


def surveying(blocks):
    return Surveying(SimpleNamespace(blocks=Blocks(blocks)))


def addresses(run):
    return [run.first + n for n in range(run.size)]


@given(situations(), st.integers(-3, 33))
def test_free_runs_have_all_that_is_free_from_an_address_on_and_do_not_touch(situation, behind):
    begin = situation.inside[0] + behind
    runs = list(surveying(situation.blocks).free_runs([situation.subnet()], begin))
    assert [one for run in runs for one in addresses(run)] == [one for one in situation.free if one >= begin]
    assert all(later.first > earlier.last + 1 for earlier, later in itertools.pairwise(runs))


@given(situations(), st.integers(27, 32))
def test_free_networks_are_all_those_of_which_every_address_is_free(situation, length):
    runs = list(surveying(situation.blocks).free_networks([situation.subnet()], None, length))
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
    cells = surveying(situation.blocks).cells(situation.subnet(), network)
    assert len(cells) == min(256, network.num_addresses)
    assert cells[0].network[0] == network[0]
    assert cells[-1].network[-1] == network[-1]
    allowed = set(situation.inside) - situation.excluded
    for cell in cells:
        here = [one for one in allowed if one in cell.network]
        assert cell.used == sum(one in situation.taken | situation.going for one in here)
        assert cell.excluded == cell.network.num_addresses - len(here)


def test_of_a_large_subnet_nothing_is_written_out():
    network = ip_network("2001:db8::/32")
    subnet = a_subnet(network[0], network[-1], exclusions=("2001:db8::/48",))
    found = surveying({}).free_networks([subnet], None, 64)
    assert [str(next(found).first) for _ in range(2)] == ["2001:db8:1::", "2001:db8:1:1::"]
    (run,) = surveying({}).free_runs([subnet], None)
    assert run.size == 2**96 - 2**80
    cells = surveying({}).cells(subnet, network)
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
    assert str(network_around(a_subnet(ip_address(start), ip_address(end)))) == expected
