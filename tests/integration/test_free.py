"""What is free, as it is shown."""

import pytest

from tests.support.stack import Api, problem


def test_free_runs_and_networks_of_a_subnet_are_listed(api: Api):
    subnet = api.subnet(cidr="10.0.0.0/26", gateway="10.0.0.1")
    api.reserve(subnet, addresses=["10.0.0.20", "10.0.0.21"])
    path = f"/subnets/{subnet['id']}/free"
    answer = api.get(path)
    assert answer.headers["Content-Type"] == "application/vnd.ipam.free+json; version=1.0.0"
    assert answer.json() == {
        "free": [
            {"start": "10.0.0.2", "end": "10.0.0.19", "size": 18, "subnet": subnet["id"]},
            {"start": "10.0.0.22", "end": "10.0.0.62", "size": 41, "subnet": subnet["id"]},
        ]
    }
    networks = api.get(f"{path}?prefix_length=28").json()["free"]
    assert [one["cidr"] for one in networks] == ["10.0.0.32/28"]
    assert networks[0] == {
        "cidr": "10.0.0.32/28", "start": "10.0.0.32", "end": "10.0.0.47", "size": 16, "subnet": subnet["id"],
    }  # fmt: skip
    assert len(api.pages(f"{path}?prefix_length=32&limit=7", "free")) == subnet["size"] - 2


def test_free_space_of_a_pool_is_listed_subnet_after_subnet(api: Api):
    pool = api.pool()
    second, first = api.subnet(pool, cidr="2001:db8::/64"), api.subnet(pool, cidr="10.0.0.0/30")
    api.reserve(second, addresses=["2001:db8::7"])
    expected = [
        ("10.0.0.1", "10.0.0.2", first["id"]),
        ("2001:db8::1", "2001:db8::6", second["id"]),
        ("2001:db8::8", "2001:db8::ffff:ffff:ffff:ffff", second["id"]),
    ]
    for limit in (1, 2, 1000):
        runs = api.pages(f"/pools/{pool['id']}/free?limit={limit}", "free")
        assert [(one["start"], one["end"], one["subnet"]) for one in runs] == expected
    networks = api.get(f"/pools/{pool['id']}/free?prefix_length=96&limit=1").json()["free"]
    assert [one["cidr"] for one in networks] == ["2001:db8::1:0:0/96"]


def test_a_map_shows_how_much_is_taken_and_each_cell_can_be_looked_into(api: Api):
    subnet = api.subnet(cidr="10.0.0.0/16", exclusions=["10.0.2.0/24"])
    api.reserve(subnet, count=300)
    whole = api.get(f"/subnets/{subnet['id']}/map").json()
    assert (whole["block"], len(whole["cells"])) == ("10.0.0.0/16", 256)
    assert whole["cells"][:3] == [
        {"cidr": "10.0.0.0/24", "used": 255, "cooling": 0, "excluded": 1},
        {"cidr": "10.0.1.0/24", "used": 45, "cooling": 0, "excluded": 0},
        {"cidr": "10.0.2.0/24", "used": 0, "cooling": 0, "excluded": 256},
    ]
    closer = api.get(f"/subnets/{subnet['id']}/map?block=10.0.1.0/24").json()["cells"]
    assert [cell["used"] for cell in closer] == [1] * 45 + [0] * 211


@pytest.mark.parametrize(
    ("query", "slug"),
    [
        ("free?prefix_length=33", "invalid-parameter"),
        ("free?prefix_length=x", "invalid-parameter"),
        ("free?limit=0", "invalid-parameter"),
        ("free?cursor=here", "invalid-parameter"),
        ("free?name=x", "unknown-parameter"),
        ("map?block=10.0.0.0", "invalid-parameter"),
        ("map?block=10.0.0.1/24", "invalid-parameter"),
        ("map?block=2001:db8::/64", "invalid-parameter"),
        ("map?cell=1", "unknown-parameter"),
    ],
)
def test_free_space_query_that_cannot_be_answered_is_refused(api: Api, query: str, slug: str):
    subnet = api.subnet(cidr="10.0.0.0/24")
    assert problem(api.get(f"/subnets/{subnet['id']}/{query}")) == (400, slug)
    assert problem(api.get("/subnets/" + "0" * 24 + "/free")) == (404, "not-found")
