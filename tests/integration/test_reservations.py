"""Reserving addresses over HTTP, with real workers, once with each broker."""

import threading
from uuid import uuid4

import pytest
from bson import ObjectId

from ipam.api.http.responses import job_json
from ipam.models.job import Job
from ipam.settings import Settings
from ipam.storage.connection import connect
from ipam.storage.stores import Stores
from ipam.wiring import broker_endpoint
from ipam.workers.celery_app import create_celery
from ipam.workers.result_codec import ResultCodec
from ipam.workers.result_listener import ResultListener
from tests.support.invariants import assert_hands_out_all, assert_ledger_is_true
from tests.support.servers import wait_until
from tests.support.stack import Api, Stack, all_at_once, created, problem

SAME_IN_JSON = ({"name": "z", "tags": ["a"]}, {"tags": ["a"], "name": "z"})


def test_address_shows_its_holder_in_each_pool(api: Api):
    held, free = api.subnet(cidr="198.51.100.0/24"), api.subnet(cidr="198.51.100.0/25")
    reservation = api.reserve(held, name="web-1", addresses=["198.51.100.7"])
    answer = api.get("/addresses/198.51.100.7", headers={"Accept": "*/*"})
    assert answer.headers["Content-Type"] == "application/vnd.ipam.address+json; version=1.0.0"
    assert answer.json() == {
        "address": "198.51.100.7",
        "holders": [
            {
                "pool": held["pool"],
                "subnet": held["id"],
                "lease": reservation["leases"][0]["id"],
                "reservation": reservation["id"],
                "name": "web-1",
            },
            {"pool": free["pool"], "subnet": free["id"], "lease": None, "reservation": None, "name": None},
        ],
    }
    api.delete(f"/reservations/{reservation['id']}")
    assert [one["lease"] for one in api.get("/addresses/198.51.100.7").json()["holders"]] == [None, None]
    assert api.get("/addresses/198.51.100.255").json()["holders"][0]["subnet"] == held["id"]
    assert api.get("/addresses/3FFF:0::07").json() == {"address": "3fff::7", "holders": []}
    assert problem(api.get("/addresses/10.0.0")) == (400, "invalid-parameter")


def test_release_of_many_addresses_is_a_job(api: Api):
    subnet = api.subnet(cidr="10.0.0.0/20")
    first, second = (api.reserve(subnet, count=1001) for _ in range(2))
    path = f"/reservations/{first['id']}"
    answer = api.delete(
        path, headers={"Prefer": "respond-async", "Accept": "application/vnd.ipam.reservation+json"}
    )
    assert answer.status_code == 202
    assert answer.headers["Location"] == f"/jobs/{first['id']}"
    assert answer.headers["Preference-Applied"] == "respond-async"
    assert (answer.json()["kind"], answer.json()["progress"]["total"]) == ("release", 1001)
    assert problem(api.get(path)) == (404, "not-found")
    assert problem(api.delete(answer.headers["Location"])) == (409, "not-queued")
    job = api.get(f"{answer.headers['Location']}?wait=60").json()
    assert (job["state"], job["progress"]) == ("succeeded", {"done": 1001, "total": 1001})
    answer = api.delete(f"/reservations/{second['id']}", headers={"Prefer": "wait=60"})
    assert (answer.status_code, answer.headers["Location"]) == (204, "/reservations")
    assert api.get(f"/subnets/{subnet['id']}").json()["used"] == 0


def test_address_shows_its_holder_at_a_time(api: Api):
    subnet = api.subnet(cidr="198.51.100.0/24")
    path = "/addresses/198.51.100.9"
    first = api.reserve(subnet, name="first", addresses=["198.51.100.9"])
    api.delete(f"/reservations/{first['id']}")
    second = api.reserve(subnet, name="second", addresses=["198.51.100.9"])
    api.delete(f"/subnets/{subnet['id']}")
    wait_until(
        lambda: api.get(f"/events?subject=/subnets/{subnet['id']}&type=ipam.subnet.deleted").json()["events"],
        30,
        "the log to tell of all that",
    )

    def name_at(time: str) -> list[str | None]:
        answer = api.get(f"{path}?at={time}").json()
        return [one["name"] for one in answer["holders"] if one["subnet"] == subnet["id"]]

    assert name_at(first["created_at"]) == ["first"]
    assert name_at(second["created_at"]) == ["second"]
    assert name_at(subnet["created_at"]) == [None]
    assert name_at("2026-01-01T00:00:00%2B01:00") == []
    assert [one for one in api.get(path).json()["holders"] if one["subnet"] == subnet["id"]] == []
    for at in ("yesterday", "2026-01-01T00:00:00", ""):
        assert problem(api.get(f"{path}?at={at}")) == (400, "invalid-parameter")


def test_a_sync_request_is_answered_with_its_leases(stack: Stack):
    subnet = stack.api.subnet(cidr="10.0.0.0/29", gateway="10.0.0.1", exclusions=["10.0.0.3"])
    answer = stack.api.post(f"/subnets/{subnet['id']}/reservations", {"name": "db", "count": 2, "tags": ["a"]})
    reservation = created(answer)
    assert answer.headers["Location"] == f"/reservations/{reservation['id']}"
    assert [lease["address"] for lease in reservation["leases"]] == ["10.0.0.2", "10.0.0.4"]
    assert (reservation["count"], reservation["subnet"], reservation["name"]) == (2, subnet["id"], "db")
    assert stack.api.get(f"/reservations/{reservation['id']}?embed=leases").json() == reservation


def test_an_async_request_is_a_job_that_can_be_polled(stack: Stack):
    subnet = stack.api.subnet(cidr="10.0.0.0/29")
    path = f"/subnets/{subnet['id']}/reservations"
    answer = stack.api.post(path, {"count": 3}, headers={"Prefer": "respond-async"})
    job = answer.json()
    assert answer.status_code == 202
    assert answer.headers["Location"] == f"/jobs/{job['id']}"
    assert answer.headers["Preference-Applied"] == "respond-async"
    assert int(answer.headers["Retry-After"]) > 0
    ended = stack.api.get(f"/jobs/{job['id']}?wait=20").json()
    assert (ended["state"], ended["progress"]) == ("succeeded", {"done": 3, "total": 3})
    leases = stack.api.get(f"/reservations/{ended['reservation']}/leases").json()["leases"]
    assert len(leases) == 3


def test_the_end_of_a_job_is_announced_to_all_web_processes(stack: Stack):
    """So that who waits need not ask the database for it over and over."""
    settings = Settings.read({}, stack.environment)
    app = create_celery(settings, broker_endpoint(settings))
    heard: dict[ObjectId, Job | None] = {}
    is_heard = threading.Event()
    stores = Stores(connect(settings.mongo, settings.database, 20))
    codec = ResultCodec(stores.positions.secret)
    hearing = ResultListener(app, codec, heard.update, lambda now: is_heard.set() if now else None)
    hearing.start()
    assert is_heard.wait(20)
    subnet = stack.api.subnet(cidr="10.0.0.0/24")

    def announced() -> bool:
        stack.api.reserve(subnet)  # The first one may come before the broker knows that somebody listens.
        jobs = stack.api.get(f"/jobs?subnet={subnet['id']}").json()["jobs"]
        return any(ObjectId(job["id"]) in heard for job in jobs)

    wait_until(announced, 20, "an announcement")
    for id_, job in heard.items():
        assert job_json(job) == stack.api.get(f"/jobs/{id_}").json()  # Told as it is stored.
    hearing.stop()
    app.close()
    stores.whole.close()


def test_eight_clients_get_every_address_once_and_then_409(stack: Stack):
    subnet = stack.api.subnet(cidr="10.0.0.0/25")
    path = f"/subnets/{subnet['id']}/reservations"

    def reserve_until_409(_: int) -> list[str]:
        addresses = []
        while (answer := stack.api.post(path)).status_code == 201:
            addresses += [lease["address"] for lease in answer.json()["leases"]]
        assert problem(answer) == (409, "exhausted")
        assert (answer.json()["asked"], answer.json()["free"]) == (1, 0)
        return addresses

    handed_out = [address for part in all_at_once(8, reserve_until_409, range(8)) for address in part]
    assert len(handed_out) == len(set(handed_out)) == subnet["size"] == 126
    after = stack.api.get(f"/subnets/{subnet['id']}").json()
    assert (after["used"], after["free"], after["utilization"]) == (126, 0, 1.0)
    assert_ledger_is_true(stack.api, subnet["id"])


def test_eight_clients_reserve_and_give_back_in_one_subnet(stack: Stack):
    """Gives back in web processes what workers hand out meanwhile."""
    subnet = stack.api.subnet(cidr="10.0.0.0/25")

    def come_and_go(_: int) -> None:
        for _ in range(2):
            first, second = stack.api.reserve(subnet), stack.api.reserve(subnet)
            for one in (first, second):
                assert stack.api.delete(f"/reservations/{one['id']}").status_code == 204

    all_at_once(8, come_and_go, range(8))
    assert assert_ledger_is_true(stack.api, subnet["id"]) == []
    assert_hands_out_all(stack.api, subnet["id"])


def test_more_than_is_free_is_refused_and_nothing_is_held(stack: Stack):
    subnet = stack.api.subnet(cidr="10.0.0.0/29")
    answer = stack.api.post(f"/subnets/{subnet['id']}/reservations", {"count": 7})
    assert problem(answer) == (409, "exhausted")
    assert (answer.json()["asked"], answer.json()["free"]) == (7, 6)
    assert stack.api.get(f"/subnets/{subnet['id']}").json()["used"] == 0


def test_a_pool_is_filled_subnet_by_subnet_and_a_request_may_span_them(stack: Stack):
    pool = stack.api.pool(metadata={"site": "x"})
    second = stack.api.subnet(pool, start="10.0.1.1", end="10.0.1.4")
    first = stack.api.subnet(pool, start="10.0.0.1", end="10.0.0.2", metadata={"vlan": 7})
    path = f"/pools/{pool['id']}/reservations"
    one = created(stack.api.post(path))
    assert (one["subnet"], one["leases"][0]["address"]) == (first["id"], "10.0.0.1")
    assert (one["pool_metadata"], one["subnet_metadata"]) == ({"site": "x"}, {"vlan": 7})
    spanning = created(stack.api.post(path, {"count": 3}))
    assert {lease["address"] for lease in spanning["leases"]} == {"10.0.0.2", "10.0.1.1", "10.0.1.2"}
    for reservation in (one, spanning):  # Which were answered by their jobs, not by what is stored.
        assert stack.api.get(f"/reservations/{reservation['id']}?embed=leases").json() == reservation
    listed = {item["id"]: item for item in stack.api.get(path).json()["reservations"]}
    for shown in (one, spanning):
        assert listed[shown["id"]] == stack.api.get(f"/reservations/{shown['id']}").json()
    assert listed[spanning["id"]]["subnet_metadata"] is None
    assert (spanning["subnet"], set(spanning["subnets"])) == (None, {first["id"], second["id"]})
    assert problem(stack.api.post(path, {"count": 3})) == (409, "exhausted")
    totals = stack.api.get(f"/pools/{pool['id']}").json()
    assert [totals[name] for name in ("subnets", "size", "used", "free")] == [2, 6, 4, 2]
    stack.api.delete(f"/subnets/{first['id']}")
    assert stack.api.get(f"/reservations/{one['id']}").status_code == 404
    assert stack.api.get(f"/reservations/{spanning['id']}").json()["count"] == 2
    stack.api.delete(f"/reservations/{spanning['id']}")
    assert_ledger_is_true(stack.api, second["id"])
    assert_hands_out_all(stack.api, second["id"])


def test_a_pool_without_subnets_has_nothing_free(stack: Stack):
    pool = stack.api.pool()
    assert problem(stack.api.post(f"/pools/{pool['id']}/reservations")) == (409, "exhausted")


def test_a_released_address_comes_back_when_all_behind_it_had_their_turn(api: Api):
    subnet = api.subnet(start="10.0.0.1", end="10.0.0.6")
    taken = [api.reserve(subnet) for _ in range(4)]
    for index in (2, 0):
        assert api.delete(f"/reservations/{taken[index]['id']}").status_code == 204
    got = [api.reserve(subnet)["leases"][0]["address"] for _ in range(4)]
    assert got == ["10.0.0.5", "10.0.0.6", "10.0.0.1", "10.0.0.3"]
    assert problem(api.post(f"/subnets/{subnet['id']}/reservations"))[0] == 409


def test_lease_can_be_released_alone(api: Api):
    subnet = api.subnet(cidr="10.0.0.0/29")
    reservation = api.reserve(subnet, count=3)
    lease = reservation["leases"][1]
    gone = api.delete(f"/leases/{lease['id']}")
    assert (gone.status_code, gone.headers["Location"]) == (204, "/leases")
    assert api.get(f"/leases/{lease['id']}").status_code == 404
    assert api.delete(f"/leases/{lease['id']}").status_code == 404
    assert api.get(f"/reservations/{reservation['id']}").json()["count"] == 2
    assert api.get(f"/subnets/{subnet['id']}").json()["used"] == 2
    assert api.delete(f"/reservations/{reservation['id']}").status_code == 204
    assert_ledger_is_true(api, subnet["id"])
    assert_hands_out_all(api, subnet["id"])


def test_an_old_lease_id_cannot_touch_the_next_holder(api: Api):
    subnet = api.subnet(start="10.0.0.1", end="10.0.0.1")
    first = api.reserve(subnet)
    api.delete(f"/reservations/{first['id']}")
    second = api.reserve(subnet)
    assert second["leases"][0]["address"] == first["leases"][0]["address"]
    assert api.delete(f"/leases/{first['leases'][0]['id']}").status_code == 404
    assert api.get(f"/subnets/{subnet['id']}").json()["used"] == 1


def test_lease_released_by_many_callers_is_free_once(api: Api):
    subnet = api.subnet(cidr="10.0.0.0/28")
    reservation = api.reserve(subnet, count=8)
    paths = [f"/leases/{lease['id']}" for lease in reservation["leases"]] + [f"/reservations/{reservation['id']}"]
    statuses = all_at_once(8, lambda path: api.delete(path).status_code, paths * 3)
    assert set(statuses) <= {204, 404}
    assert api.get(f"/subnets/{subnet['id']}").json()["used"] == 0
    assert_hands_out_all(api, subnet["id"])


def test_the_same_idempotency_key_gives_the_same_reservation(stack: Stack):
    subnet = stack.api.subnet(cidr="10.0.0.0/28")
    path, key = f"/subnets/{subnet['id']}/reservations", str(uuid4())
    answers = all_at_once(
        8, lambda _: stack.api.post(path, {"name": "x"}, headers={"Idempotency-Key": key}), range(16)
    )
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.text for answer in answers}) == 1
    assert stack.api.get(f"/subnets/{subnet['id']}").json()["used"] == 1
    again = stack.api.post(path, {"name": "y"}, headers={"Idempotency-Key": key})
    assert problem(again) == (422, "invalid")
    twins = [stack.api.post(path, body, headers={"Idempotency-Key": f"{key}-2"}) for body in SAME_IN_JSON]
    assert [twin.text for twin in twins] == [twins[0].text] * 2
    stack.api.delete(answers[0].headers["Location"])
    replayed = stack.api.post(path, {"name": "x"}, headers={"Idempotency-Key": key})
    assert (replayed.status_code, replayed.text) == (201, answers[0].text)
    assert replayed.headers["Location"] == answers[0].headers["Location"]


def test_a_refusal_is_the_first_answer_too(api: Api):
    subnet = api.subnet(start="10.0.0.1", end="10.0.0.1")
    held = api.reserve(subnet)
    key = {"Idempotency-Key": str(uuid4())}
    path = f"/subnets/{subnet['id']}/reservations"
    first = api.post(path, headers=key)
    assert problem(first) == (409, "exhausted")
    api.delete(f"/reservations/{held['id']}")
    again = api.post(path, headers=key)
    assert (again.status_code, again.text) == (409, first.text)


def test_ipv6_addresses_are_handed_out_like_any_other(api: Api):
    subnet = api.subnet(cidr="2001:db8::/64", gateway="2001:db8::")
    assert subnet["size"] == 2**64 - 1
    assert api.reserve(subnet)["leases"][0]["address"] == "2001:db8::1"
    assert api.get(f"/subnets/{subnet['id']}").json()["free"] == 2**64 - 2


def test_a_lease_is_found_by_its_address(api: Api):
    pool = api.pool()
    subnet = api.subnet(pool, cidr="10.77.0.0/24")
    lease = api.reserve(subnet, count=9)["leases"][6]
    found = api.get(f"/leases?address=10.77.0.7&pool={pool['id']}").json()["leases"]
    assert [one["id"] for one in found] == [lease["id"]]
    assert api.get(f"/leases?address=10.77.0.77&pool={pool['id']}").json()["leases"] == []


def test_a_large_reservation_is_complete_and_given_back_whole(api: Api):
    subnet = api.subnet(cidr="10.0.0.0/20")
    reservation = api.reserve(subnet, count=1100)
    assert len({lease["address"] for lease in reservation["leases"]}) == 1100
    assert len(assert_ledger_is_true(api, subnet["id"])) == 1100
    api.delete(f"/reservations/{reservation['id']}")
    assert api.get(f"/subnets/{subnet['id']}").json()["used"] == 0


@pytest.mark.parametrize("kind", ["subnet", "pool"])
def test_a_large_deletion_is_a_job_that_can_be_waited_for(api: Api, kind: str):
    pool = api.pool()
    subnet = api.subnet(pool, cidr="10.0.0.0/22")
    reservation = api.reserve(subnet, count=300)
    path = f"/subnets/{subnet['id']}" if kind == "subnet" else f"/pools/{pool['id']}"
    answer = api.delete(path, headers={"Prefer": "respond-async"})
    assert answer.status_code == 202
    job = answer.json()
    assert (job["kind"], job["progress"]["total"], job["reservation"]) == ("deletion", 300, None)
    assert api.get(path).status_code == 404
    ended = api.get(f"{answer.headers['Location']}?wait=30").json()
    assert (ended["state"], ended["progress"]["done"]) == ("succeeded", 300)
    assert api.get(f"/reservations/{reservation['id']}").status_code == 404
    if kind == "subnet":
        assert api.subnet(pool, cidr="10.0.0.0/22")["used"] == 0


def test_a_job_in_the_past_tells_why_it_failed(api: Api):
    subnet = api.subnet(start="10.0.0.1", end="10.0.0.1")
    path = f"/subnets/{subnet['id']}/reservations"
    job = api.post(path, {"count": 2}, headers={"Prefer": "respond-async"}).json()
    ended = api.get(f"/jobs/{job['id']}?wait=20").json()
    assert ended["state"] == "failed"
    assert (ended["error"]["type"], ended["error"]["status"]) == ("/problems/exhausted", 409)
    assert problem(api.delete(f"/jobs/{job['id']}")) == (409, "not-queued")


def test_deleting_a_subnet_under_load_leaves_nothing_behind(api: Api):
    pool = api.pool()
    subnet = api.subnet(pool, cidr="10.0.0.0/24")
    path = f"/subnets/{subnet['id']}/reservations"

    def act(turn: int) -> int:
        if turn == 40:
            return api.delete(f"/subnets/{subnet['id']}").status_code
        return api.post(path).status_code

    statuses = all_at_once(8, act, range(80))
    assert set(statuses) <= {201, 204, 404}
    assert api.get(f"/subnets/{subnet['id']}").status_code == 404
    wait_until(
        lambda: not api.get(f"/reservations?pool={pool['id']}").json()["reservations"], 20, "reservations to go"
    )
    wait_until(lambda: not api.get(f"/leases?pool={pool['id']}").json()["leases"], 20, "leases to go")
    assert api.subnet(pool, cidr="10.0.0.0/24")["used"] == 0


def test_reservation_of_more_leases_than_a_page_shows_the_first_and_a_link(api: Api):
    subnet = api.subnet(cidr="10.0.0.0/16")
    path, key = f"/subnets/{subnet['id']}/reservations", {"Idempotency-Key": str(uuid4()), "Prefer": "wait=60"}
    reservation = created(api.post(path, {"count": 10_001}, headers=key))
    assert len(reservation["leases"]) == 10_000
    (last,) = api.get(reservation["next"]).json()["leases"]
    assert last["address"] not in {lease["address"] for lease in reservation["leases"]}
    assert created(api.post(path, {"count": 10_001}, headers=key))["id"] == reservation["id"]
    assert api.get(f"/subnets/{subnet['id']}").json()["used"] == 10_001
