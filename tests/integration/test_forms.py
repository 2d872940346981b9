"""Every way of asking for addresses."""

from ipaddress import ip_address

import pytest

from tests.support.invariants import assert_hands_out_all, assert_ledger_is_true
from tests.support.stack import Api, problem


def given(reservation):
    return [lease["address"] for lease in reservation["leases"]]


def fault(answer):
    """Slug and place of what is wrong with a request."""
    slug = problem(answer)
    return (*slug, answer.json()["errors"][0]["pointer"])


def assert_nothing_is_doubled_or_leaked(api: Api, pool, used):
    held = [lease["address"] for lease in api.pages(f"/leases?pool={pool['id']}", "leases")]
    assert len(held) == len(set(held)) == used
    assert api.get(f"/pools/{pool['id']}").json()["used"] == used


def test_these_very_addresses_are_had_all_or_none(api: Api):
    subnet = api.subnet(cidr="10.0.0.0/29", exclusions=["10.0.0.6"])
    path = f"/subnets/{subnet['id']}/reservations"
    first = api.reserve(subnet, addresses=["10.0.0.4", "10.0.0.2"])
    assert (given(first), first["count"]) == (["10.0.0.2", "10.0.0.4"], 2)
    taken = api.post(path, {"addresses": ["10.0.0.1", "10.0.0.2", "10.0.0.4"]})
    assert problem(taken) == (409, "address-taken")
    assert taken.json()["detail"].endswith("cannot be had: taken; choose others.")
    assert taken.json()["addresses"] == ["10.0.0.2", "10.0.0.4"]
    assert fault(api.post(path, {"addresses": ["10.0.0.1", "10.0.0.6"]})) == (422, "invalid", "/addresses/1")
    assert fault(api.post(path, {"addresses": ["2001:db8::1"]})) == (422, "invalid", "/addresses/0")
    assert given(api.reserve(subnet)) == ["10.0.0.1"]  # Its turn is not changed by what was asked for by name.
    assert_hands_out_all(api, subnet["id"])


def test_addresses_in_a_row_follow_each_other(api: Api):
    subnet = api.subnet(cidr="10.0.0.0/28")
    for lonely in ("10.0.0.3", "10.0.0.8"):
        api.reserve(subnet, addresses=[lonely])
    run = api.reserve(subnet, count=6, contiguous=True)
    assert given(run) == [str(ip_address("10.0.0.9") + n) for n in range(6)]
    refused = api.post(f"/subnets/{subnet['id']}/reservations", {"count": 5, "contiguous": True})
    assert problem(refused) == (409, "exhausted")
    assert (refused.json()["asked"], refused.json()["free"]) == (5, 6)
    assert "in a row" in refused.json()["detail"]
    assert given(api.reserve(subnet, count=4, contiguous=True)) == [f"10.0.0.{n}" for n in (4, 5, 6, 7)]
    assert_hands_out_all(api, subnet["id"])


def test_a_subnet_has_a_strategy_and_a_request_may_have_another(api: Api):
    subnet = api.subnet(cidr="10.0.0.0/28", strategy="lowest")
    assert subnet["strategy"] == "lowest"
    first = api.reserve(subnet)
    api.reserve(subnet)
    api.delete(f"/reservations/{first['id']}")
    assert given(api.reserve(subnet)) == ["10.0.0.1"]
    assert given(api.reserve(subnet, strategy="next")) == ["10.0.0.3"]
    scattered = api.reserve(subnet, count=5, strategy="random")
    assert len(set(given(scattered))) == 5
    assert_hands_out_all(api, subnet["id"])


@pytest.mark.parametrize("strategy", ["next", "lowest", "random"])
def test_a_subnet_is_filled_and_half_emptied_and_filled_again(api: Api, strategy: str):
    subnet = api.subnet(cidr="10.0.0.0/28", strategy=strategy)
    for _ in range(3):
        assert_hands_out_all(api, subnet["id"])
        for lease in assert_ledger_is_true(api, subnet["id"])[::2]:
            assert api.delete(f"/leases/{lease['id']}").status_code == 204
    assert len(assert_ledger_is_true(api, subnet["id"])) == 7


def test_a_pool_gives_of_several_subnets_in_order_or_from_the_emptiest(api: Api):
    pool = api.pool()
    small, large = api.subnet(pool, cidr="10.0.0.0/30"), api.subnet(pool, cidr="10.0.1.0/29")
    path = f"/pools/{pool['id']}/reservations"
    spanning = api.post(path, {"count": 3}).json()
    assert given(spanning) == ["10.0.0.1", "10.0.0.2", "10.0.1.1"]
    assert (spanning["subnet"], spanning["subnets"]) == (None, [small["id"], large["id"]])
    api.delete(f"/reservations/{spanning['id']}")
    emptiest = [given(api.post(path, {"spread": "most-free"}).json())[0] for _ in range(5)]
    assert emptiest == ["10.0.1.2", "10.0.1.3", "10.0.1.4", "10.0.1.5", "10.0.0.1"]
    named = api.post(path, {"addresses": ["10.0.0.2", "10.0.1.6"]}).json()
    assert given(named) == ["10.0.0.2", "10.0.1.6"]
    assert problem(api.post(path, {"count": 2, "contiguous": True})) == (409, "exhausted")  # One is left.
    taken = api.post(path, {"addresses": ["10.0.0.2", "10.0.1.6", "10.0.1.1"]})
    assert problem(taken) == (409, "address-taken")
    assert taken.json()["detail"].endswith("cannot be had: taken; choose others.")
    assert taken.json()["addresses"] == ["10.0.0.2", "10.0.1.6"]  # All of them, whatever subnet they are of.
    assert_nothing_is_doubled_or_leaked(api, pool, 8 - 1)


def test_a_dual_stack_host_gets_both_families_or_nothing(api: Api):
    pool = api.pool()
    api.subnet(pool, cidr="10.0.0.0/30")
    api.subnet(pool, cidr="2001:db8::/64")
    path = f"/pools/{pool['id']}/reservations"
    host = api.post(path, {"ipv4": 1, "ipv6": 2}).json()
    assert given(host) == ["10.0.0.1", "2001:db8::1", "2001:db8::2"]
    assert host["count"] == 3
    refused = api.post(path, {"ipv4": 2, "ipv6": 1})
    assert problem(refused) == (409, "exhausted")
    assert (refused.json()["asked"], refused.json()["free"]) == (2, 1)
    assert given(api.post(path, {"ipv6": 1}).json()) == ["2001:db8::3"]
    assert_nothing_is_doubled_or_leaked(api, pool, 4)


def test_random_addresses_of_one_request_are_scattered_over_the_subnet(api: Api):
    subnet = api.subnet(cidr="2001:db8::/64")
    addresses = given(api.reserve(subnet, count=50, strategy="random"))
    assert len({address.rpartition(":")[0] for address in addresses}) > 40
    assert len(set(addresses)) == 50
    small = api.subnet(start="10.0.255.0", end="10.1.0.255")
    assert len(set(given(api.reserve(small, count=512, strategy="random")))) == 512
    assert_hands_out_all(api, small["id"])


def test_missing_resource_is_named_in_words_that_fit(api: Api):
    subnet = api.subnet(start="10.0.0.1", end="10.0.0.3")
    path = f"/subnets/{subnet['id']}/reservations"
    api.reserve(subnet, addresses=["10.0.0.2"])
    in_a_row = api.post(path, {"count": 2, "contiguous": True}).json()["detail"]
    assert in_a_row == (
        "2 addresses in a row asked for, 2 free, but not so many in a row; "
        "ask without contiguous, or for fewer or elsewhere."
    )
    api.reserve(subnet, count=2)
    for wish, start in (
        ({}, "1 address asked for, 0 free; "),
        ({"contiguous": True}, "1 address in a row asked for, 0 free; "),
    ):
        assert api.post(path, wish).json()["detail"] == f"{start}ask for fewer or elsewhere."
    assert (
        api.delete(f"/subnets/{subnet['id']}?cascade=false").json()["detail"].startswith("3 addresses reserved in")
    )


def test_an_ipv6_subnet_hands_out_what_lies_behind_a_gap_of_half_its_size(api: Api):
    subnet = api.subnet(cidr="2001:db8::/32", exclusions=["2001:db8::/33"])
    assert given(api.reserve(subnet, count=2)) == ["2001:db8:8000::", "2001:db8:8000::1"]


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"addresses": ["10.0.0"]}, "/addresses/0"),
        ({"addresses": ["10.0.0.1", "10.0.0.1"]}, "/addresses/1"),
        ({"addresses": "10.0.0.1"}, "/addresses"),
        ({"addresses": ["10.0.0.1"], "count": 2}, "/count"),
        ({"addresses": ["10.0.0.1"], "contiguous": True}, "/contiguous"),
        ({"addresses": ["10.0.0.1"], "strategy": "lowest"}, "/strategy"),
        ({"contiguous": "yes"}, "/contiguous"),
        ({"strategy": "highest"}, "/strategy"),
        ({"spread": "most-free"}, "/spread"),
        ({"ipv4": 1}, "/ipv4"),
        ({"ipv6": 0}, "/ipv6"),
        ({"addresses": []}, "/addresses"),
    ],
    ids=str,
)
def test_a_wish_that_makes_no_sense_is_refused_with_its_place(api: Api, body, pointer):
    subnet = api.subnet(cidr="10.0.0.0/29")
    assert fault(api.post(f"/subnets/{subnet['id']}/reservations", body)) == (422, "invalid", pointer)
    assert api.get(f"/subnets/{subnet['id']}").json()["used"] == 0


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"ipv4": 1, "count": 2}, "/count"),
        ({"ipv4": -1}, "/ipv4"),
        ({"ipv4": 0, "ipv6": 0}, "/ipv4"),
        ({"ipv4": 0}, "/ipv4"),
        ({"ipv6": 0}, "/ipv6"),
        ({"ipv4": 0, "count": 3}, "/ipv4"),
        ({"ipv4": 65_536, "ipv6": 1}, "/ipv6"),
        ({"spread": "widely"}, "/spread"),
        ({"addresses": ["10.0.0.1"], "spread": "most-free"}, "/spread"),
        ({"addresses": ["10.9.9.9"]}, "/addresses/0"),
    ],
    ids=str,
)
def test_a_wish_of_a_pool_that_makes_no_sense_is_refused_with_its_place(api: Api, body, pointer):
    pool = api.pool()
    api.subnet(pool, cidr="10.0.0.0/29")
    assert fault(api.post(f"/pools/{pool['id']}/reservations", body)) == (422, "invalid", pointer)
    assert api.get(f"/pools/{pool['id']}").json()["used"] == 0
