"""Several requests for addresses in one POST."""

from typing import Any
from uuid import uuid4

import pytest
import requests

from tests.support.invariants import assert_hands_out_all, assert_ledger_is_true
from tests.support.stack import Api, Stack, all_at_once, problem

Json = dict[str, Any]


def path(subnet: Json) -> str:
    return f"/subnets/{subnet['id']}/reservations"


def outcomes(answer: requests.Response, status: int = 200) -> list[Json]:
    assert answer.status_code == status, answer.text
    return answer.json()["outcomes"]


def given(outcome: Json) -> list[str]:
    return [lease["address"] for lease in outcome["reservation"]["leases"]]


def test_list_answers_each_request_with_its_own_outcome(stack: Stack):
    api = stack.api
    subnet = api.subnet(cidr="10.0.0.0/29")
    answer = api.post(
        path(subnet),
        {
            "reservations": [
                {"name": "a"},
                {"name": "b", "count": 0},
                {"name": "c", "count": 7},
                {"name": "d", "addresses": ["10.0.0.4", "10.0.0.6"], "pool": subnet["pool"]},
                "e",
                {"name": "f", "colour": "red", "tags": 7},
                {"count": 2},
            ]
        },
    )
    first, nothing, too_many, certain, no_object, wrong, last = outcomes(answer)
    assert (given(first), given(certain), given(last)) == (
        ["10.0.0.1"], ["10.0.0.4", "10.0.0.6"], ["10.0.0.2", "10.0.0.3"],
    )  # fmt: skip
    for one in (first, certain, last):
        assert one["status"] == 201
        assert one["location"] == f"/reservations/{one['reservation']['id']}"
        assert api.get(f"{one['location']}?embed=leases").json() == one["reservation"]
    assert (too_many["status"], too_many["problem"]["type"]) == (409, "/problems/exhausted")
    job = api.get(too_many["location"]).json()
    assert (job["state"], job["error"]) == ("failed", too_many["problem"])
    places = ["/reservations/1/count"], ["/reservations/4"], ["/reservations/5/tags", "/reservations/5/colour"]
    for one, wrong_at in zip((nothing, no_object, wrong), places, strict=True):
        assert (one["status"], one["problem"]["type"]) == (422, "/problems/invalid")
        assert [fault["pointer"] for fault in one["problem"]["errors"]] == wrong_at
        assert "location" not in one
    assert_ledger_is_true(api, subnet["id"])


def test_a_thousand_requests_are_one_round_trip(api: Api):
    subnet = api.subnet(cidr="10.0.0.0/16")
    wanted = [{"name": f"host-{place}"} for place in range(1000)]
    answer = api.post(path(subnet), {"reservations": wanted}, headers={"Prefer": "wait=60"})
    had = outcomes(answer)
    assert [one["reservation"]["name"] for one in had] == [one["name"] for one in wanted]
    assert len({given(one)[0] for one in had}) == 1000
    assert api.get(f"/subnets/{subnet['id']}").json()["used"] == 1000


def test_asynchronous_list_is_answered_at_once(stack: Stack):
    api = stack.api
    subnet = api.subnet(cidr="10.0.0.0/24")
    body, key = {"reservations": [{"count": 2}, {"count": -1}, {"count": 3}]}, {"Idempotency-Key": str(uuid4())}
    answer = api.post(path(subnet), body, headers={"Prefer": "respond-async", **key})
    first, wrong, last = outcomes(answer, 202)
    assert answer.headers["Preference-Applied"] == "respond-async"
    assert int(answer.headers["Retry-After"]) > 0
    assert wrong["status"] == 422
    for one, count in ((first, 2), (last, 3)):
        assert (one["status"], one["location"]) == (202, f"/jobs/{one['job']['id']}")
        assert api.get(f"{one['location']}?wait=20").json()["progress"] == {"done": count, "total": count}
    again = outcomes(api.post(path(subnet), body, headers=key))
    assert [one["status"] for one in again] == [201, 422, 201]
    for before, after in ((first, again[0]), (last, again[2])):
        assert api.get(before["location"]).json()["reservation"] == after["reservation"]["id"]
    assert api.get(f"/subnets/{subnet['id']}").json()["used"] == 5


def test_a_list_that_is_sent_again_with_its_key_has_no_second_effect(stack: Stack):
    api = stack.api
    subnet = api.subnet(cidr="10.0.0.0/24")
    key = {"Idempotency-Key": str(uuid4())}
    body = {"reservations": [{"count": count} for count in range(12)]}
    answers = all_at_once(8, lambda _: api.post(path(subnet), body, headers=key), range(8))
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.text for answer in answers}) == 1
    assert [one["status"] for one in answers[0].json()["outcomes"]] == [422, *[201] * 11]
    assert api.get(f"/subnets/{subnet['id']}").json()["used"] == sum(range(12))
    other = api.post(path(subnet), {"reservations": body["reservations"][1:]}, headers=key)
    assert problem(other) == (422, "invalid")
    assert_hands_out_all(api, subnet["id"])


def test_a_pool_takes_lists_too(api: Api):
    pool = api.pool()
    v4, v6 = api.subnet(pool, cidr="10.0.0.0/30"), api.subnet(pool, cidr="2001:db8::/64")
    body = {"reservations": [{"ipv4": 1, "ipv6": 1, "name": f"host-{n}", "subnet": ""} for n in range(3)]}
    first, second, third = outcomes(api.post(f"/pools/{pool['id']}/reservations", body))
    assert (given(first), given(second)) == (["10.0.0.1", "2001:db8::1"], ["10.0.0.2", "2001:db8::2"])
    assert (third["status"], third["problem"]["type"]) == (409, "/problems/exhausted")
    assert [api.get(f"/subnets/{one['id']}").json()["used"] for one in (v4, v6)] == [2, 2]


def test_a_list_of_nothing_asks_for_nothing(api: Api):
    subnet = api.subnet(cidr="10.0.0.0/24")
    assert outcomes(api.post(path(subnet), {"reservations": []})) == []
    assert api.get(f"/subnets/{subnet['id']}").json()["used"] == 0


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"reservations": None}, "/reservations"),
        ({"reservations": {"count": 1}}, "/reservations"),
        ({"reservations": [{}] * 1001}, "/reservations"),
        ({"reservations": [{}], "count": 2}, "/count"),
        ({"reservations": [{}], "colour": "red"}, "/colour"),
    ],
)
def test_malformed_list_is_refused_as_a_whole(api: Api, body, pointer):
    subnet = api.subnet(cidr="10.0.0.0/24")
    answer = api.post(path(subnet), body)
    assert problem(answer) == (422, "invalid")
    assert [fault["pointer"] for fault in answer.json()["errors"]] == [pointer]
    assert api.get(f"/jobs?subnet={subnet['id']}").json()["jobs"] == []


def test_a_list_has_a_media_type_of_its_own(api: Api):
    subnet = api.subnet(cidr="10.0.0.0/24")
    sent = {"Content-Type": "application/vnd.ipam.reservations+json; version=1.0.0", "Accept": "*/*"}
    answer = api.request("POST", path(subnet), data='{"reservations": [{}]}', headers=sent)
    assert answer.headers["Content-Type"] == "application/vnd.ipam.outcomes+json; version=1.0.0"
    assert outcomes(answer)[0]["status"] == 201
    missing = api.post("/subnets/000000000000000000000000/reservations", {"reservations": [{}]})
    assert problem(missing) == (404, "not-found")
