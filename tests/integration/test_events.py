"""The audit log over HTTP."""

import subprocess
import sys
from typing import Any
from uuid import uuid4

import pytest

from tests.support.servers import wait_until
from tests.support.stack import Api, Stack, all_at_once, problem

TIMEOUT_S = 30


def events(api: Api, query: str, count: int) -> list[dict[str, Any]]:
    """The *count* events that a query finds, once the log has them."""
    wait_until(lambda: len(api.get(f"/events?{query}").json()["events"]) >= count, TIMEOUT_S, f"{count} events")
    return api.get(f"/events?{query}").json()["events"]


def test_the_log_tells_the_whole_life_of_a_subnet(api: Api):
    """What it is, what was reserved of it, what became of that, when, and who did it."""
    pool = api.pool()
    alice, bob = {"X-Actor": "alice", "X-Request-Id": "r-7"}, {"X-Actor": "bob"}
    subnet = api.post(f"/pools/{pool['id']}/subnets", {"cidr": "10.0.0.0/28"}, headers=alice).json()
    path = f"/subnets/{subnet['id']}"
    web = api.post(f"{path}/reservations", {"name": "web", "count": 2}, headers=alice).json()
    api.patch(f"/reservations/{web['id']}", {"name": "db"}, headers=bob)
    api.delete(f"/leases/{web['leases'][0]['id']}", headers=bob)
    api.post(f"{path}/reservations", {"count": 500}, headers=bob)
    api.delete(f"/reservations/{web['id']}", headers=alice)
    api.delete(path, headers=bob)
    told = events(api, f"subject={path}", 8)
    assert [(event["type"].removeprefix("ipam."), event["actor"]) for event in told] == [
        ("subnet.created", "alice"),
        ("reservation.created", "alice"),
        ("reservation.updated", "bob"),
        ("lease.released", "bob"),
        ("reservation.updated", "bob"),
        ("reservation.failed", "bob"),
        ("reservation.deleted", "alice"),
        ("subnet.deleted", "bob"),
    ]
    created, reserved = told[:2]
    assert created["subject"] == path
    assert created["requestid"] == "r-7"
    assert created["time"] == subnet["created_at"]
    assert created["data"] == subnet
    assert reserved["subject"] == f"/reservations/{web['id']}"
    assert reserved["data"]["addresses"] == ["10.0.0.1-10.0.0.2"]
    assert told[2]["data"]["before"] == {"name": "web"}
    assert [event["sequence"] for event in told] == sorted(event["sequence"] for event in told)


def test_an_event_is_a_cloudevent(api: Api, redis_stack: Stack):
    trace = f"00-{'a' * 32}-{'b' * 16}-01"
    pool = api.post("/pools", {"name": "traced"}, headers={"traceparent": trace}).json()
    answer = api.get(f"/events?subject=/pools/{pool['id']}&wait=30")
    assert answer.headers["Content-Type"] == "application/vnd.ipam.events+json; version=1.0.0"
    (event,) = answer.json()["events"]
    assert event.pop("sequence").isdigit()
    assert event.pop("requestid")
    data = {name: value for name, value in pool.items() if name not in ("subnets", "size", "used", "free")}
    assert event == {
        "specversion": "1.0",
        "id": f"pool-{pool['id']}-1",
        "source": f"/{redis_stack.environment['IPAM_DATABASE']}",
        "type": "ipam.pool.created",
        "subject": f"/pools/{pool['id']}",
        "time": pool["created_at"],
        "traceparent": trace,
        "datacontenttype": "application/json",
        "data": data,
    }


def test_events_of_a_pool_include_what_is_in_it(api: Api):
    subnet = api.subnet(cidr="10.0.0.0/28")
    reservation = api.reserve(subnet)
    told = events(api, f"subject=/pools/{subnet['pool']}", 3)
    assert [event["subject"] for event in told] == [
        f"/pools/{subnet['pool']}",
        f"/subnets/{subnet['id']}",
        f"/reservations/{reservation['id']}",
    ]


def test_events_are_found_by_type_actor_and_time(api: Api):
    actor = uuid4().hex
    headers = {"X-Actor": actor}
    pool = api.post("/pools", {}, headers=headers).json()
    api.patch(f"/pools/{pool['id']}", {"name": "b"}, headers=headers)
    changed = api.patch(f"/pools/{pool['id']}", {"name": "c"}, headers=headers).json()
    created, *updated = events(api, f"actor={actor}", 3)

    def found(query: str) -> list[str]:
        told = api.pages(f"/events?actor={actor}&{query}", "events")
        return [event["id"] for event in told]

    assert found("type=ipam.pool.created") == [created["id"]]
    assert found("type=ipam.pool.updated") == [event["id"] for event in updated]
    assert found("type=ipam.pool.*") == [event["id"] for event in (created, *updated)]
    assert found("type=ipam.subnet.*") == []
    assert found(f"until={changed['updated_at']}") == [created["id"], updated[0]["id"]]
    assert found(f"since={changed['updated_at']}") == [updated[1]["id"]]
    assert found(f"after={created['sequence']}") == [event["id"] for event in updated]


def test_events_are_paged_without_gap_or_repetition(api: Api):
    pool = api.pool()
    all_at_once(4, lambda n: api.subnet(pool, cidr=f"10.0.{n}.0/24"), range(20))
    told = events(api, f"subject=/pools/{pool['id']}", 21)
    first = api.get(f"/events?subject=/pools/{pool['id']}&limit=4")
    assert first.headers["Link"] == f'<{first.json()["next"]}>; rel="next"'
    assert api.pages(f"/events?subject=/pools/{pool['id']}&limit=4", "events") == told


def test_long_poll_returns_an_event_when_it_happens(api: Api):
    pool = api.pool()
    path = f"/events?subject=/pools/{pool['id']}"
    after = events(api, path.removeprefix("/events?"), 1)[0]["sequence"]

    def follow(_: object) -> list[str]:
        return [event["type"] for event in api.get(f"{path}&after={after}&wait=30").json()["events"]]

    assert all_at_once(
        2, lambda do: do(None), [follow, lambda _: api.patch(f"/pools/{pool['id']}", {"name": "b"})]
    )[0] == ["ipam.pool.updated"]


def test_long_poll_without_an_event_tells_where_to_go_on(api: Api):
    pool = api.pool()
    events(api, f"subject=/pools/{pool['id']}", 1)
    answer = api.get(f"/events?subject=/pools/{pool['id']}&type=ipam.pool.deleted&wait=1").json()
    assert answer["events"] == []
    assert int(answer["after"]) > 0


@pytest.mark.parametrize(
    ("query", "slug"),
    [
        ("after=-1", "invalid-parameter"),
        ("after=9223372036854775808", "invalid-parameter"),
        ("limit=0", "invalid-parameter"),
        ("wait=61", "invalid-parameter"),
        ("type=ipam.pool.creted", "invalid-parameter"),
        ("type=*", "invalid-parameter"),
        ("subject=subnets/65f000000000000000000001", "invalid-parameter"),
        ("subject=/subnets/1", "invalid-parameter"),
        ("since=yesterday", "invalid-parameter"),
        ("until=2026-01-01T00:00:00", "invalid-parameter"),
        ("since=", "invalid-parameter"),
        ("limit=1&limit=2", "invalid-parameter"),
        ("name=x", "unknown-parameter"),
    ],
)
def test_a_parameter_that_means_nothing_is_refused(api: Api, query: str, slug: str):
    assert problem(api.get(f"/events?{query}")) == (400, slug)


def test_events_after_the_last_one_are_none(api: Api):
    assert api.get(f"/events?after={2**63 - 1}").json()["events"] == []


def test_events_after_latest_are_only_those_to_come(api: Api):
    pool = api.pool()
    path = f"/events?subject=/pools/{pool['id']}"
    events(api, path.removeprefix("/events?"), 1)
    begin = api.get(f"{path}&after=latest").json()
    assert begin["events"] == []
    api.patch(f"/pools/{pool['id']}", {"name": "b"})
    answer = api.get(f"{path}&after={begin['after']}&wait=30").json()
    assert [event["type"] for event in answer["events"]] == ["ipam.pool.updated"]


def test_events_tail_names_what_it_cannot_follow_in_one_line(api: Api):
    command = [sys.executable, "-m", "ipam", "events", "tail", "--url", api.url, "--type", "ipam.pool.creted"]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ran.returncode != 0
    assert ran.stderr.startswith("Error: type: must be one of ipam.lease.*")
    assert len(ran.stderr.splitlines()) == 1
