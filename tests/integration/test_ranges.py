"""What a subnet holds against others, and what it never hands out."""

from tests.support.stack import Api, problem


def held(reservation):
    return [lease["address"] for lease in reservation["leases"]]


def test_a_cidr_is_held_whole_with_its_network_and_broadcast_address(api: Api):
    pool = api.pool()
    subnet = api.subnet(pool, cidr="10.0.0.0/24")
    for cidr in ("10.0.0.255/32", "10.0.0.0/32", "10.0.0.254/31"):
        refused = api.post(f"/pools/{pool['id']}/subnets", {"cidr": cidr})
        assert problem(refused) == (409, "subnet-overlap")
        assert refused.json()["subnet"] == subnet["id"]
    api.subnet(pool, cidr="10.0.1.0/32")
    for address in ("10.0.0.0", "10.0.0.7", "10.0.0.255"):
        found = api.get(f"/subnets?address={address}&pool={pool['id']}").json()["subnets"]
        assert [one["id"] for one in found] == [subnet["id"]]


def test_a_range_is_held_from_its_start_to_its_end_and_no_further(api: Api):
    pool = api.pool()
    api.subnet(pool, start="10.0.0.10", end="10.0.0.20")
    api.subnet(pool, cidr="10.0.0.8/31")
    api.subnet(pool, start="10.0.0.21", end="10.0.0.21")


def test_ipv4_and_ipv6_never_meet(api: Api):
    """As numbers the one lie within the other."""
    pool = api.pool()
    six, four = api.subnet(pool, cidr="::/96"), api.subnet(pool, cidr="10.0.0.0/8")
    found = api.get(f"/subnets?address=10.1.2.3&pool={pool['id']}").json()["subnets"]
    assert [one["id"] for one in found] == [four["id"]]
    found = api.get(f"/subnets?address=::7&pool={pool['id']}").json()["subnets"]
    assert [one["id"] for one in found] == [six["id"]]
    assert (six["size"], four["size"]) == (2**32 - 1, 2**24 - 2)
    assert api.get(f"/leases?address=10.1.2.3&pool={pool['id']}").json()["leases"] == []


def test_an_ipv6_subnet_ends_before_the_addresses_that_stand_for_ipv4_or_begins_behind_them(api: Api):
    pool = api.pool()
    before = api.subnet(pool, start="::fffe:ffff:fffe", end="::fffe:ffff:ffff")
    behind = api.subnet(pool, start="::1:0:0:0", end="::1:0:0:1")
    assert held(api.reserve(before, count=2)) == ["::fffe:ffff:fffe", "::fffe:ffff:ffff"]
    assert held(api.reserve(behind, count=2)) == ["::1:0:0:0", "::1:0:0:1"]
    for low, high in (("::fffe:ffff:ffff", "::1:0:0:0"), ("::1", "::ffff:0:0"), ("::ffff:ffff:ffff", "::1:0:0:5")):
        answer = api.post(f"/pools/{api.pool()['id']}/subnets", {"start": low, "end": high})
        assert problem(answer) == (422, "invalid")


def test_the_first_address_of_an_ipv6_network_is_its_routers(api: Api):
    """RFC 4291 gives it to any of them; on a link of two there is no room for that."""
    first = {
        "2001:db8::/64": "2001:db8::1",
        "2001:db8:1::/127": "2001:db8:1::",
        "2001:db8:2::5/128": "2001:db8:2::5",
    }
    for cidr, expected in first.items():
        assert held(api.reserve(api.subnet(cidr=cidr))) == [expected]


def test_a_cidr_is_shown_in_its_normal_form(api: Api):
    assert api.subnet(cidr="2001:DB8:0:0::/64")["cidr"] == "2001:db8::/64"
