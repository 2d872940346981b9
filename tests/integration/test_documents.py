"""Lists, filters, merge patch, conditional requests."""

import json
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import pytest

from tests.support.stack import Api, all_at_once, created, problem


def test_a_list_is_paged_without_gap_or_repetition(api: Api):
    pool = api.pool()
    subnets = [api.subnet(pool, cidr=f"10.0.{n}.0/24")["id"] for n in range(7)]
    path = f"/pools/{pool['id']}/subnets?limit=3"
    first = api.get(path)
    assert first.headers["Link"] == f'<{first.json()["next"]}>; rel="next"'
    assert [one["id"] for one in api.pages(path, "subnets")] == subnets
    assert "next" not in api.get(f"/pools/{pool['id']}/subnets?limit=7").json()


def test_leases_are_paged_in_the_order_of_their_addresses(api: Api):
    subnet = api.subnet(cidr="10.0.0.0/24")
    api.reserve(subnet, count=20)
    leases = api.pages(f"/subnets/{subnet['id']}/leases?limit=6", "leases")
    assert [lease["address"] for lease in leases] == [f"10.0.0.{n}" for n in range(1, 21)]


def test_lists_are_filtered_by_name_tags_and_metadata(api: Api):
    mark = uuid4().hex
    api.pool(name=mark, tags=["a", "b"], metadata={"rack": {"row": 7}, "on": True, "ips": ["x", "y"]})
    api.pool(name=mark, tags=["a"], metadata={"rack": {"row": 8}})

    def count(query: str) -> int:
        return len(api.get(f"/pools?name={mark}{query}").json()["pools"])

    assert count("") == 2
    assert count("&tag=a") == 2
    assert count("&tag=a&tag=b") == 1
    assert count("&metadata.rack.row=7") == 1
    assert count("&metadata.on=true") == 1
    assert count("&metadata.ips=y") == 1
    assert count("&metadata.rack=7") == 0


def test_a_page_is_bounded_in_bytes_and_its_next_leads_on(api: Api):
    """What reservations show of their pool and subnet counts too: here 128 KiB each."""
    pool = api.pool(metadata="x" * 65_000)
    subnet = api.subnet(pool, cidr="10.0.0.0/24", metadata="y" * 65_000)
    made = [one["id"] for one in all_at_once(8, lambda _: api.reserve(subnet), range(70))]
    path, pages = f"/subnets/{subnet['id']}/reservations", []
    while path:
        answer = api.get(path)
        assert len(answer.content) < 9 * 1024 * 1024
        pages.append([reservation["id"] for reservation in answer.json()["reservations"]])
        path = answer.json().get("next")
    assert [len(page) for page in pages] == [64, 6]
    assert sorted(pages[0] + pages[1]) == sorted(made)


@pytest.mark.parametrize(
    ("metadata", "query", "found"),
    [
        ('{"v": 7}', "v=7", True),
        ('{"v": 7.0}', "v=7", True),
        ('{"v": 7}', "v=0.7e1", True),
        ('{"v": "7"}', "v=7", True),
        ('{"v": "7.0"}', "v=7", False),
        ('{"v": "1.10"}', "v=1.1", False),
        ('{"v": 1.10}', "v=1.1", True),
        ('{"v": 12345678901234567890}', "v=12345678901234567891", False),
        ('{"v": true}', "v=true", True),
        ('{"v": null}', "v=null", True),
        ('{"v": true}', "v=1", False),
        ('{"a": {"b": 1}}', "a.b=1", True),
        ('{"a.b": 1}', "a.b=1", False),
        ('{"a.b": 1}', "a%252Eb=1", True),
        ('{"a": {"b": 1}}', "a%252Eb=1", False),
        ('{"a=b": "c"}', "a%3Db=c", True),
        ('{"a": "b=c"}', "a=b=c", True),
        ('{"a=b": "c"}', "a=b=c", False),
        ('{"50%": 1}', "50%25=1", True),
        ('{"a%2Eb": 1}', "a%25252Eb=1", True),
        ('{"a%2Eb": 1}', "a%252Eb=1", False),
        ('{"a#": "7e0"}', "a=7", False),
        ('{"": 1}', "=1", True),
        ('{"a": {"": 1}}', "a.=1", True),
    ],
)
def test_a_filter_by_metadata_matches_what_it_says(api: Api, metadata, query, found):
    mark = uuid4().hex
    body = f'{{"name": "{mark}", "metadata": {metadata}}}'
    created(api.request("POST", "/pools", data=body, headers={"Content-Type": "application/json"}))
    pools = api.get(f"/pools?name={mark}&metadata.{query}").json()["pools"]
    assert bool(pools) is found


def test_resource_without_a_name_is_found_by_no_name(api: Api):
    pool = api.pool()
    unnamed, named = api.subnet(pool, cidr="10.0.0.0/24"), api.subnet(pool, cidr="10.0.1.0/24", name="n")
    for name, expected in (("", unnamed), ("n", named)):
        found = api.get(f"/pools/{pool['id']}/subnets?name={name}").json()["subnets"]
        assert [subnet["id"] for subnet in found] == [expected["id"]]
    api.reserve(unnamed)
    assert len(api.get(f"/subnets/{unnamed['id']}/leases?name=").json()["leases"]) == 1


def test_patch_merges_and_put_replaces(api: Api):
    pool = api.pool(name="a", tags=["t"], metadata={"x": {"y": 1, "z": 2}, "w": 3})
    path = f"/pools/{pool['id']}"
    merged = api.patch(
        path,
        {"metadata": {"x": {"y": None, "v": 4}}},
        headers={"Content-Type": "application/merge-patch+json"},
    )
    assert (merged.status_code, merged.headers["Location"]) == (200, path)
    assert merged.json()["metadata"] == {"x": {"z": 2, "v": 4}, "w": 3}
    assert (merged.json()["name"], merged.json()["tags"]) == ("a", ["t"])
    assert api.patch(path, {"metadata": [1], "tags": None}).json()["metadata"] == [1]
    replaced = api.put(path, {"name": "b"}).json()
    assert (replaced["name"], replaced["tags"], replaced["metadata"]) == ("b", [], None)
    assert replaced["revision"] == 4
    whole = api.get(path).json()
    assert api.put(path, whole).json() == whole


def test_no_concurrent_patch_is_lost(api: Api):
    pool = api.pool(metadata={})
    path = f"/pools/{pool['id']}"
    all_at_once(8, lambda n: api.patch(path, {"metadata": {f"k{n}": n}}), range(40))
    assert api.get(path).json()["metadata"] == {f"k{n}": n for n in range(40)}


def test_if_match_lets_one_of_many_through(api: Api):
    subnet = api.subnet(cidr="10.0.0.0/29")
    path = f"/subnets/{subnet['id']}"
    tag = api.get(path).headers["ETag"]
    api.reserve(subnet)  # What is taken is not what a PATCH writes: the tag still holds.
    answers = all_at_once(8, lambda n: api.patch(path, {"name": f"n{n}"}, headers={"If-Match": tag}), range(8))
    assert sorted(answer.status_code for answer in answers) == [200] + [412] * 7
    assert problem(api.delete(path, headers={"If-Match": tag})) == (412, "stale")
    assert problem(api.delete(path, headers={"If-Match": '"none"'})) == (412, "stale")
    assert api.delete(path, headers={"If-Match": "*"}).status_code == 204


def test_if_none_match_spares_the_body_until_something_changes(api: Api):
    subnet = api.subnet(cidr="10.0.0.0/29")
    path = f"/subnets/{subnet['id']}"
    tag = {"If-None-Match": api.get(path).headers["ETag"]}
    unchanged = api.get(path, headers=tag)
    assert (unchanged.status_code, unchanged.content) == (304, b"")
    api.reserve(subnet)
    assert api.get(path, headers=tag).status_code == 200


def test_a_subnet_can_be_created_anew_from_what_was_shown_of_it(api: Api):
    pool = api.pool()
    made = api.subnet(
        pool,
        cidr="10.0.0.0/24",
        gateway="10.0.0.1",
        exclusions=["10.0.0.9 - 10.0.0.11", "10.0.0.20-10.0.0.20", "10.0.0.64/26"],
    )
    assert made["exclusions"] == ["10.0.0.9-10.0.0.11", "10.0.0.20", "10.0.0.64/26"]
    spelled = {"exclusions": ["10.0.0.9-10.0.0.11", "10.0.0.20 - 10.0.0.20", "10.0.0.64/26"]}
    assert api.patch(f"/subnets/{made['id']}", spelled).status_code == 200
    api.delete(f"/subnets/{made['id']}")
    again = created(api.post(f"/pools/{pool['id']}/subnets", {**made, "id": ""}))
    assert {name: again[name] for name in ("start", "end", "cidr", "gateway", "exclusions", "size")} == {
        name: made[name] for name in ("start", "end", "cidr", "gateway", "exclusions", "size")
    }


def test_subnets_are_found_by_their_range(api: Api):
    pool = api.pool()
    wide, narrow = api.subnet(pool, cidr="10.7.0.0/25"), api.subnet(pool, start="10.7.0.128", end="10.7.0.130")
    v6 = api.subnet(pool, cidr="2001:db8:7::/64")
    for query, expected in (
        ("cidr=10.7.0.0/25", [wide]),
        ("cidr=10.7.0.0/24", []),
        ("cidr=2001:DB8:7:0::/64", [v6]),
        ("start=10.7.0.1", [wide]),
        ("start=10.7.0.128", [narrow]),
        ("start=10.7.0.2", []),
        ("start=10.7.0.1&cidr=10.7.0.0/25&address=10.7.0.127", [wide]),
        ("cidr=10.7.0.0/25&address=10.7.0.128", []),
    ):
        for path in (f"/subnets?pool={pool['id']}&{query}", f"/pools/{pool['id']}/subnets?{query}"):
            assert [one["id"] for one in api.get(path).json()["subnets"]] == [one["id"] for one in expected], path


def test_a_subnet_is_full_only_when_it_is(api: Api):
    subnet = api.subnet(cidr="10.0.0.0/8")
    assert subnet["utilization"] == 0
    api.reserve(subnet)
    assert api.get(f"/subnets/{subnet['id']}").json()["utilization"] == 0.000001


def test_an_id_may_be_written_in_capitals(api: Api):
    pool = api.pool(name="p")
    path, key = f"/pools/{pool['id']}", {"Idempotency-Key": str(uuid4())}
    assert api.get(path.upper().replace("POOLS", "pools")).json() == api.get(path).json()
    answers = [
        api.post(f"/pools/{id_}/subnets", {"cidr": "10.0.0.0/24", "pool": id_}, headers=key)
        for id_ in (pool["id"], pool["id"].upper())
    ]
    assert [answer.status_code for answer in answers] == [201, 201]
    assert answers[0].text == answers[1].text
    assert api.get(f"/events?subject={path.upper().replace('POOLS', 'pools')}").status_code == 200


def test_a_repeated_request_is_answered_in_the_type_that_it_asks_for(api: Api):
    key = {"Idempotency-Key": str(uuid4())}
    answers = [
        api.post("/pools", {"name": "x"}, headers={**key, "Accept": accept})
        for accept in ("application/json", "application/vnd.ipam.pool+json", "*/*", "Application/JSON,,")
    ]
    vendor = "application/vnd.ipam.pool+json; version=1.0.0"
    types = [answer.headers["Content-Type"] for answer in answers]
    assert types == ["application/json", vendor, vendor, "application/json"]
    assert len({answer.text for answer in answers}) == 1


def test_a_key_is_of_the_caller_who_used_it(api: Api):
    key = {"Idempotency-Key": str(uuid4())}
    answers = {
        actor: [
            api.post("/pools", {"name": f"of {actor}"}, headers={**key, **({"X-Actor": actor} if actor else {})})
            for _ in range(2)
        ]
        for actor in (None, "alice", "bob")
    }
    assert {answer.status_code for twice in answers.values() for answer in twice} == {201}
    assert [len({answer.text for answer in twice}) for twice in answers.values()] == [1, 1, 1]
    assert len({answers[actor][0].json()["id"] for actor in answers}) == 3


def test_pages_of_other_sites_are_kept_out_and_answers_are_not_kept_on_the_way(api: Api):
    pool = api.pool()
    path = f"/pools/{pool['id']}"
    cross = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "cors"}
    for method, at in (("GET", "/pools"), ("POST", "/pools"), ("DELETE", path)):
        assert problem(api.request(method, at, headers=cross)) == (403, "cross-site")
    assert api.delete(path, headers={**cross, "Sec-Fetch-Mode": "navigate"}).status_code == 403
    assert api.get(path, headers={**cross, "Sec-Fetch-Mode": "navigate"}).status_code == 200
    for own in ("same-origin", "same-site", "none"):
        assert api.get(path, headers={**cross, "Sec-Fetch-Site": own}).status_code == 200
    unchanged = api.get(path, headers={"If-None-Match": api.get(path).headers["ETag"]})
    kept = {
        "private, no-cache": [api.get(path), unchanged, api.patch(path, {"name": "n"})],
        "no-store": [*map(api.get, ("/livez", "/nothing", "/pools?x=1")), api.post("/pools", 7)],
    }
    for control, answers in kept.items():
        for answer in answers:
            assert answer.headers["Cache-Control"] == control, answer.text
            assert answer.headers["X-Content-Type-Options"] == "nosniff"
            assert answer.headers["Vary"] == "Accept"


def test_the_start_says_what_there_is(api: Api):
    start = api.get("/")
    assert (start.status_code, start.headers["Content-Type"]) == (200, "application/json")
    assert start.json()["name"] == "ipam"
    for name, link in start.json()["links"].items():
        answer = api.get(link)
        assert answer.status_code == 200, link
        assert answer.text.endswith("}\n") is (name not in ("metrics", "docs"))  # For Prometheus, and browsers.


def test_the_media_type_follows_accept(api: Api):
    vendor = "application/vnd.ipam.pools+json; version=1.0.0"
    expected = {None: vendor, "*/*": vendor, vendor: vendor, "application/json": "application/json"}
    got = {accept: api.get("/pools", headers={"Accept": accept}).headers["Content-Type"] for accept in expected}
    assert got == expected


def test_overlapping_subnets_created_at_once_are_one(api: Api):
    pool = api.pool()

    def create(n: int) -> int:
        return api.post(f"/pools/{pool['id']}/subnets", {"start": f"10.0.0.{n}", "end": "10.0.0.200"}).status_code

    with ThreadPoolExecutor(8) as threads:
        statuses = list(threads.map(create, range(1, 17)))
    assert sorted(statuses) == [201] + [409] * 15
    assert api.get(f"/pools/{pool['id']}").json()["subnets"] == 1


def test_the_same_key_creates_one_subnet(api: Api):
    pool = api.pool()
    key = {"Idempotency-Key": uuid4().hex}
    body = {"cidr": "10.0.0.0/24"}
    answers = all_at_once(8, lambda _: api.post(f"/pools/{pool['id']}/subnets", body, headers=key), range(8))
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.json()["id"] for answer in answers}) == 1


@pytest.mark.parametrize(
    ("stored", "sent"), [(0, False), (False, 0), (1, True), (1, 1.0), (1.0, 1), ([0], [False]), ("1", 1)], ids=str
)
def test_values_that_only_python_takes_for_equal_are_changed(api: Api, stored, sent):
    pool = api.pool(metadata={"monitored": stored})
    path = f"/pools/{pool['id']}"
    changed = api.patch(path, {"metadata": {"monitored": sent}})
    assert json.dumps(changed.json()["metadata"]) == json.dumps({"monitored": sent})
    assert changed.json()["revision"] == 2
    assert api.patch(path, {"metadata": {"monitored": sent}}).json()["revision"] == 2  # No change.


@pytest.mark.parametrize("stored", ["text", [1], 7, None])
def test_a_patch_that_is_an_object_meets_anything_else_as_an_empty_object(api: Api, stored):
    pool = api.pool(metadata=stored)
    patched = api.patch(f"/pools/{pool['id']}", {"metadata": {"a": {"b": None, "c": 1}, "d": None}})
    assert patched.json()["metadata"] == {"a": {"c": 1}}


def test_shown_resource_can_be_sent_back_though_computed_fields_have_moved(api: Api):
    pool = api.pool()
    subnet = api.subnet(pool, cidr="2001:db8::/64", exclusions=["2001:DB8::b"], gateway="2001:db8::a")
    reservation = api.reserve(subnet, name="r")
    api.reserve(subnet)
    for kind, answered in (("pools", pool), ("subnets", subnet), ("reservations", reservation)):
        path = f"/{kind}/{answered['id']}"
        for send in (api.put, api.patch):
            assert send(path, {**answered, "name": "again"}).json()["name"] == "again"
    nothing = {"id": "", "pool": None, "start": "", "gateway": None, "exclusions": [], "used": 0}
    assert api.patch(f"/subnets/{subnet['id']}", nothing).json()["gateway"] == "2001:db8::a"
    lease = reservation["leases"][0]
    respelled = {**lease, "id": lease["id"].upper(), "address": lease["address"].upper(), "name": "mine"}
    assert api.put(f"/leases/{lease['id']}", respelled).json()["name"] == "mine"
    more = api.post(f"/subnets/{subnet['id']}/reservations", {"pool": pool["id"].upper(), "subnet": subnet["id"]})
    assert more.status_code == 201


def test_a_fixed_field_that_would_change_is_refused(api: Api):
    subnet = api.subnet(cidr="10.0.0.0/24")
    other = api.pool()
    for name, value in (("pool", other["id"]), ("start", "10.0.0.2"), ("strategy", "lowest"), ("id", "0" * 24)):
        for send in (api.put, api.patch):
            refused = send(f"/subnets/{subnet['id']}", {name: value})
            assert problem(refused) == (422, "invalid")
            assert refused.json()["errors"][0]["pointer"] == f"/{name}"
    wrong = api.post(f"/subnets/{subnet['id']}/reservations", {"pool": other["id"]})
    assert problem(wrong) == (422, "invalid")


def test_head_answers_as_get_does_without_the_body(api: Api):
    subnet = api.subnet(cidr="10.0.0.0/24")
    reservation = api.reserve(subnet)
    paths = [
        *("/pools", "/subnets", "/reservations", "/leases", "/jobs", "/livez", "/readyz"),
        *(f"/pools/{subnet['pool']}{below}" for below in ("", "/subnets", "/reservations", "/free")),
        *(f"/subnets/{subnet['id']}{below}" for below in ("", "/reservations", "/leases", "/free", "/map")),
        *(f"/reservations/{reservation['id']}{below}" for below in ("", "/leases")),
        f"/leases/{reservation['leases'][0]['id']}",
    ]
    for path in paths:
        got, head = api.get(path), api.request("HEAD", path)
        assert (head.status_code, head.content) == (200, b""), path
        for name in ("Content-Type", "ETag", "Vary"):
            assert head.headers.get(name) == got.headers.get(name), path
    assert api.request("HEAD", "/pools/xyz").status_code == 404
    path = f"/subnets/{subnet['id']}"
    tag = api.get(path).headers["ETag"]
    assert api.request("HEAD", path, headers={"If-None-Match": tag}).status_code == 304
