"""Bad input gets a clear 4xx, and nothing is changed by it."""

import json

import pytest

from tests.support.stack import Api, created, problem

JSON = {"Content-Type": "application/json"}


def deep(levels: int) -> str:
    return "[" * levels + "]" * levels


# Less than 64 KiB, of which each value is found by a path of 30 KB.
MULTIPLIED = json.dumps({"k" * 30_000: {str(n): 1 for n in range(3000)}})


@pytest.mark.parametrize(
    ("body", "headers", "expected"),
    [
        ("{", JSON, (400, "malformed-json")),
        ("", JSON, (400, "malformed-json")),
        ("[]", JSON, (400, "malformed-json")),
        ('{"metadata": NaN}', JSON, (400, "malformed-json")),
        ('{"name": "a", "name": "b"}', JSON, (400, "malformed-json")),
        ('{"metadata": [{"a": 1, "b": 2, "a": 1}]}', JSON, (400, "malformed-json")),
        ("{}", {**JSON, "Content-Encoding": "gzip"}, (415, "unsupported-media-type")),
        ('{"metadata": -Infinity}', JSON, (400, "malformed-json")),
        ('{"metadata": "\\ud800"}', JSON, (400, "malformed-json")),
        (b'{"name": "\xff"}', JSON, (400, "malformed-json")),
        (f'{{"metadata": {deep(100_000)}}}', JSON, (400, "malformed-json")),
        (f'{{"metadata": {deep(200)}}}', JSON, (422, "invalid")),
        ('{"name": 7}', JSON, (422, "invalid")),
        ('{"name": "%s"}' % ("x" * 256), JSON, (422, "invalid")),
        ('{"tags": "x"}', JSON, (422, "invalid")),
        ('{"tags": [1]}', JSON, (422, "invalid")),
        ('{"colour": "red"}', JSON, (422, "invalid")),
        ('{"id": "%s"}' % ("0" * 24), JSON, (422, "invalid")),
        ('{"metadata": %s}' % ("9" * 65537), JSON, (422, "invalid")),
        (json.dumps(dict.fromkeys(map(str, range(70_000)), 0)), JSON, (422, "invalid")),
        ('{"metadata": "%s"}' % ("x" * 65536), JSON, (422, "invalid")),
        ('{"name": "%s"}' % ("x" * 1024 * 1024), JSON, (413, "too-large")),
        ("{}", {"Content-Type": "text/plain"}, (415, "unsupported-media-type")),
        ("{}", {}, (415, "unsupported-media-type")),
        ("{}", {"Content-Type": "application/vnd.ipam.subnet+json"}, (415, "unsupported-media-type")),
        ("{}", {"Content-Type": "application/vnd.ipam.pool+json; version=2.0.0"}, (415, "unsupported-media-type")),
        ("{}", {**JSON, "Accept": "text/html"}, (406, "not-acceptable")),
        ("{}", {**JSON, "Accept": "application/vnd.ipam.pool+json; version=3.0.0"}, (406, "not-acceptable")),
        ("{}", {**JSON, "Idempotency-Key": ""}, (400, "invalid-parameter")),
        ("{}", {**JSON, "Idempotency-Key": "x" * 256}, (400, "invalid-parameter")),
    ],
    ids=lambda value: str(value)[:30],
)
def test_a_bad_pool_is_refused(api: Api, body, headers, expected):
    before = len(api.pages("/pools", "pools"))
    answer = api.request("POST", "/pools", data=body, headers=headers)
    assert problem(answer) == expected
    assert len(answer.content) < 32 * 1024
    assert len(api.pages("/pools", "pools")) == before


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({}, "/start"),
        ({"start": "10.0.0.1"}, "/end"),
        ({"start": "10.0.0.1", "end": "10.0.0"}, "/end"),
        ({"start": "10.0.0.9", "end": "10.0.0.1"}, "/end"),
        ({"start": "10.0.0.1", "end": "2001:db8::1"}, "/end"),
        ({"start": "::ffff:10.0.0.1", "end": "::ffff:10.0.0.9"}, "/start"),
        ({"start": "fe80::1%eth0", "end": "fe80::9"}, "/start"),
        ({"cidr": "10.0.0.0/33"}, "/cidr"),
        ({"cidr": "10.0.0.5/24"}, "/cidr"),
        ({"cidr": "10.0.0.0"}, "/cidr"),
        ({"cidr": "10.0.0.0/255.255.255.0"}, "/cidr"),
        ({"cidr": "10.0.0.0/24", "start": "10.0.0.2"}, "/start"),
        ({"cidr": "10.0.0.0/24", "start": "10.0.0.1", "end": "10.0.0.255"}, "/end"),
        ({"cidr": "10.0.0.7/32", "gateway": "10.0.0.7"}, "/gateway"),
        ({"cidr": "::/0"}, "/cidr"),
        ({"cidr": "::/64"}, "/cidr"),
        ({"start": "::1", "end": "::ffff:0:7"}, "/end"),
        ({"start": "::fffe:0:0", "end": "::1:0:0:0"}, "/end"),
        ({"cidr": 10}, "/cidr"),
        ({"cidr": "10.0.0.0/24", "gateway": "10.0.0"}, "/gateway"),
        ({"cidr": "10.0.0.0/24", "gateway": "2001:db8::1"}, "/gateway"),
        ({"cidr": "10.0.0.0/24", "exclusions": ["10.0.0.9-10.0.0.1"]}, "/exclusions/0"),
        ({"cidr": "10.0.0.0/24", "exclusions": ["10.0.0.9", "x"]}, "/exclusions/1"),
        ({"cidr": "10.0.0.0/24", "exclusions": ["2001:db8::/64"]}, "/exclusions/0"),
        ({"cidr": "10.0.0.0/24", "gateway": "10.0.1.0"}, "/gateway"),
        ({"start": "10.0.0.10", "end": "10.0.0.20", "gateway": "10.0.0.1"}, "/gateway"),
        ({"cidr": "10.0.0.0/30", "exclusions": ["10.0.0.0/30"]}, "/exclusions"),
        ({"cidr": "10.0.0.0/30", "exclusions": ["10.0.0.2", "10.0.0.0/24"]}, "/exclusions/1"),
        ({"start": "10.0.0.10", "end": "10.0.0.20", "exclusions": ["10.0.0.20-10.0.0.21"]}, "/exclusions/0"),
        ({"cidr": "10.0.0.0/24", "cooldown": 60}, "/cooldown"),
        ({"cidr": "10.0.0.0/24", "strategy": "highest"}, "/strategy"),
        ({"cidr": "10.0.0.0/24", "pool": "0" * 24}, "/pool"),
    ],
    ids=str,
)
def test_a_bad_subnet_is_refused_with_the_place_of_the_fault(api: Api, body, pointer):
    pool = api.pool()
    answer = api.post(f"/pools/{pool['id']}/subnets", body)
    assert problem(answer) == (422, "invalid")
    assert answer.json()["errors"][0]["pointer"] == pointer
    assert api.get(f"/pools/{pool['id']}/subnets").json()["subnets"] == []


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"count": 0}, "/count"),
        ({"count": 65537}, "/count"),
        ({"count": "2"}, "/count"),
        ({"count": True}, "/count"),
        ({"count": 1.5}, "/count"),
        ({"ttl": 60}, "/ttl"),
        ({"ttl": 0}, "/ttl"),
        ({"expires_at": "2030-01-01T00:00:00Z"}, "/expires_at"),
        ({"subnet": "0" * 24}, "/subnet"),
    ],
    ids=str,
)
def test_a_bad_reservation_is_refused_with_the_place_of_the_fault(api: Api, body, pointer):
    subnet = api.subnet(cidr="10.0.0.0/29")
    answer = api.post(f"/subnets/{subnet['id']}/reservations", body)
    assert problem(answer) == (422, "invalid")
    assert answer.json()["errors"][0]["pointer"] == pointer
    assert api.get(f"/subnets/{subnet['id']}").json()["used"] == 0


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/nowhere", (404, "not-found")),
        ("/pools/xyz", (404, "not-found")),
        ("/pools/" + "0" * 24, (404, "not-found")),
        ("/pools/" + "0" * 24 + "/subnets", (404, "not-found")),
        ("/jobs/" + "0" * 24, (404, "not-found")),
        ("/pools?colour=red", (400, "unknown-parameter")),
        ("/pools?limit=0", (400, "invalid-parameter")),
        ("/pools?limit=10001", (400, "invalid-parameter")),
        ("/pools?limit=ten", (400, "invalid-parameter")),
        ("/pools?limit=1&limit=2", (400, "invalid-parameter")),
        ("/pools?cursor=nonsense", (400, "invalid-parameter")),
        ("/pools?metadata=x", (400, "unknown-parameter")),
        ("/pools?" + "&".join(["tag=x"] * 15_000), (400, "invalid-parameter")),
        ("/pools?" + "&".join(f"metadata.k{n}=x" for n in range(10_000)), (400, "invalid-parameter")),
        ("/leases?address=10.0.0", (400, "invalid-parameter")),
        ("/leases?address=10.0.0.5/24", (400, "invalid-parameter")),
        ("/subnets?cidr=10.0.0.5/24", (400, "invalid-parameter")),
        ("/subnets?start=10.0.0", (400, "invalid-parameter")),
        ("/addresses/10.0.0.1?at=2999-01-01T00:00:00Z", (400, "invalid-parameter")),
        ("/events?since=20261127T120000Z", (400, "invalid-parameter")),
        ("/leases?subnet=7", (400, "invalid-parameter")),
        ("/jobs?state=lost", (400, "invalid-parameter")),
        ("/jobs?name=x", (400, "unknown-parameter")),
    ],
)
def test_a_bad_path_or_parameter_is_refused(api: Api, path, expected):
    assert problem(api.get(path)) == expected


def test_a_cursor_of_another_list_is_refused(api: Api):
    subnet = api.subnet(cidr="10.0.0.0/24")
    of_subnet, of_pool = f"/subnets/{subnet['id']}", f"/pools/{subnet['pool']}"
    leases = (
        "/leases",
        "/leases?tag=x",
        f"{of_subnet}/leases",
        f"/reservations/{api.reserve(subnet)['id']}/leases",
    )
    others = (
        *("/pools", "/subnets", "/subnets?tag=x", "/subnets?address=10.0.0.1", f"{of_pool}/subnets"),
        *("/reservations", f"{of_subnet}/reservations", f"{of_pool}/reservations", "/jobs"),
    )
    for paths, cursor in ((leases, "A" * 16), (others, "A" * 38)):
        for path in paths:
            assert problem(api.get(path, params={"cursor": cursor})) == (400, "invalid-parameter"), path
            assert api.get(path).status_code == 200


def test_a_method_that_is_not_there_is_a_problem_too(api: Api):
    answer = api.delete("/pools")
    assert problem(answer) == (405, "method-not-allowed")
    assert "GET" in answer.headers["Allow"]


@pytest.mark.parametrize("revision", ["9" * 20, "9" * 5000, "1" * 19, "-1", "one"])
def test_an_impossible_revision_is_stale(api: Api, revision: str):
    path = f"/pools/{api.pool()['id']}"
    assert problem(api.delete(path, headers={"If-Match": f'"{revision}"'})) == (412, "stale")
    assert api.get(path).status_code == 200


def test_a_weak_tag_is_said_to_match_nothing(api: Api):
    path = f"/pools/{api.pool()['id']}"
    answer = api.delete(path, headers={"If-Match": f"W/{api.get(path).headers['ETag']}"})
    assert problem(answer) == (412, "stale")
    assert "weak" in answer.json()["detail"]
    assert api.get(path).status_code == 200


def test_overlap_names_the_other_subnet(api: Api):
    pool = api.pool()
    first = api.subnet(pool, cidr="10.0.0.0/24")
    answer = api.post(f"/pools/{pool['id']}/subnets", {"start": "10.0.0.200", "end": "10.0.1.10"})
    assert problem(answer) == (409, "subnet-overlap")
    assert answer.json()["subnet"] == first["id"]
    assert api.get(f"/pools/{pool['id']}").json()["subnets"] == 1
    api.subnet(api.pool(), cidr="10.0.0.0/24")  # Another pool may have the same addresses.
    api.delete(f"/subnets/{first['id']}")
    api.subnet(pool, start="10.0.0.200", end="10.0.1.10")


def test_a_number_is_no_count_however_it_is_spelt(api: Api):
    """What a programmer could do about a number of 5000 digits is of no use to a caller."""
    subnet = api.subnet(cidr="10.0.0.0/24")
    for number in ("9" * 5000, "-0", "1e0", "1.0"):
        body = f'{{"count": {number}}}'
        answer = api.request("POST", f"/subnets/{subnet['id']}/reservations", data=body, headers=JSON)
        assert problem(answer) == (422, "invalid")
        assert answer.json()["errors"] == [{"pointer": "/count", "detail": "input should be a valid integer"}]


@pytest.mark.parametrize(
    "text",
    [
        *("3.14159265358979323846", "1e5", "1E+05", "100000.0", "1.10", "-0", "-0.0", "1e999", "9" * 4000),
        '{"b":[1.0,1],"a":{"c":[]}}',
    ],
    ids=lambda text: text[:30],
)
def test_metadata_comes_back_to_the_letter(api: Api, text):
    """By GET, in a list, after a PATCH beside it, in what a reservation shows of its pool, and in the events."""
    sent = f'{{"name":"exact","metadata":{{"v":{text}}}}}'
    pool = created(api.request("POST", "/pools", data=sent, headers=JSON))
    expected = f'"metadata":{{"v":{text}}}'
    path = f"/pools/{pool['id']}"
    assert expected in api.get(path).text
    assert expected in api.get("/pools?limit=10000").text
    assert expected[:-1] + ',"more":1}' in api.patch(path, {"metadata": {"more": 1}}).text
    assert f'"v":{text}' in api.get(f"/events?subject={path}&wait=30").text
    subnet = api.subnet(pool, cidr="10.0.0.0/24")
    body = f'{{"metadata":{{"v":{text}}}}}'
    reservation = api.request("POST", f"/subnets/{subnet['id']}/reservations", data=body, headers=JSON)
    assert reservation.status_code == 201
    assert expected in reservation.text
    assert f'"pool_metadata":{{"v":{text},' in reservation.text


@pytest.mark.parametrize(
    "metadata",
    [
        {"$set": 1, "a.b": {"": [None, True, -0.5]}, "nul\u0000": "\u0000", "%24": "ü😀"},
        2**80,
        [[[]]],
        "text",
        False,
        0,
        {},
    ],
    ids=str,
)
def test_metadata_comes_back_as_it_was_sent(api: Api, metadata):
    pool = api.pool(metadata=metadata)
    stored = json.loads(api.get(f"/pools/{pool['id']}").text)["metadata"]
    assert json.dumps(stored) == json.dumps(metadata)


def test_metadata_of_many_long_paths_is_kept_and_found_by_the_first_of_them(api: Api):
    metadata = {"first": 1, **json.loads(MULTIPLIED), "last": 2}
    made = api.pool(metadata=metadata)
    assert api.get(f"/pools/{made['id']}").json()["metadata"] == metadata
    assert made["id"] in {one["id"] for one in api.get("/pools?metadata.first=1").json()["pools"]}
    assert api.get("/pools?metadata.last=2").json()["pools"] == []


def test_the_largest_metadata_is_kept(api: Api):
    assert created(api.post("/pools", {"metadata": "x" * (64 * 1024 - 2)}))["metadata"] == "x" * (64 * 1024 - 2)
