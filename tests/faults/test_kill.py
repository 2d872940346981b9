"""`kill -9` and lost messages in the middle of work; afterwards the guarantees hold."""

import contextlib
import os
import random
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests
from bson import ObjectId
from pymongo import MongoClient
from pymongo.errors import PyMongoError
from redis import Redis

from ipam.embedded.processes import mongo_uri
from ipam.errors import Transient
from ipam.storage.bulk_writes import Writes
from ipam.storage.connection import connect
from ipam.storage.stores import Stores
from tests.support import servers
from tests.support.invariants import assert_hands_out_all, assert_ledger_is_true, assert_log_is_true
from tests.support.seed import SEED
from tests.support.servers import Process, wait_until
from tests.support.stack import Stack, all_at_once

# How often each process is killed: once in the gate, with one broker; `make faults` says how often, and tries both.
IN_THE_GATE = "IPAM_TEST_ROUNDS" not in os.environ
ROUNDS = int(os.environ.get("IPAM_TEST_ROUNDS", "1"))
BROKERS = ["redis"] if IN_THE_GATE else ["redis", "rabbitmq"]
REQUESTS = 120 if IN_THE_GATE else 250


@pytest.fixture
def broker(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Process]:
    """A broker of the test's own, to be killed."""
    process = getattr(servers, request.param)(tmp_path)
    process.start()
    yield process
    process.stop()


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Process]:
    """A database of the test's own, to be killed."""
    process = servers.database(tmp_path)
    process.start()
    yield process
    process.stop()


@pytest.fixture
def lone_stack(broker: Process, database: Process, tmp_path: Path) -> Iterator[Stack]:
    """Processes of the test's own, with two workers."""
    url = getattr(broker, "url", f"redis://127.0.0.1:{broker.part.port}/0")
    stack = Stack(mongo_uri(database.part.port), url, tmp_path, workers=2)
    stack.start()
    yield stack
    stack.stop()


class Killer(threading.Thread):
    """Kills one process after the other at random instants and starts it again."""

    def __init__(self, victims: list[Process], chance: random.Random, rounds: int) -> None:
        super().__init__()
        self._victims = victims
        self._chance = chance
        self._rounds = rounds
        self.killed: list[str] = []

    def run(self) -> None:
        for _ in range(self._rounds):
            for victim in self._chance.sample(self._victims, len(self._victims)):
                time.sleep(self._chance.uniform(0.05, 0.6))
                victim.kill()
                self.killed.append(victim.part.name)
                time.sleep(self._chance.uniform(0.0, 0.4))
                victim.start()


@pytest.mark.timeout(300)
@pytest.mark.parametrize("broker", BROKERS, indirect=True)
def test_nothing_is_lost_when_web_workers_and_broker_are_killed(lone_stack: Stack, broker: Process):
    """Async reservations through it all: each accepted one ends, and no address is doubled or leaked."""
    chance = random.Random(SEED)
    api = lone_stack.api
    subnet = api.subnet(cidr="10.0.0.0/22")
    pool_path, subnet_path = f"/pools/{subnet['pool']}/reservations", f"/subnets/{subnet['id']}/reservations"
    accepted: dict[int, str] = {}

    def request(turn: int) -> None:
        """Send until an answer comes; the key makes that one request, however often it was sent."""
        path = subnet_path if turn % 5 else pool_path
        headers = {"Prefer": "respond-async", "Idempotency-Key": f"turn-{turn}"}
        while True:
            try:
                answer = api.post(path, {"name": f"turn-{turn}", "count": 1 + turn % 3}, headers=headers)
            except requests.RequestException:
                answer = None
            if answer is not None and answer.status_code in (201, 202):
                break
            assert answer is None or answer.status_code == 503, answer.text
            time.sleep(0.1)
        accepted[turn] = answer.json()["id"] if answer.status_code == 202 else answer.json()["name"]

    killer = Killer([lone_stack.web, *lone_stack.workers, lone_stack.relay, broker], chance, ROUNDS)
    killer.start()
    all_at_once(8, request, range(REQUESTS))
    killer.join()
    print(f"killed: {killer.killed}")
    lone_stack.wait_for_jobs(120)

    jobs = api.pages("/jobs", "jobs")
    assert [job for job in jobs if job["state"] != "succeeded"] == []
    assert sorted(job["request"]["name"] for job in jobs) == sorted(f"turn-{turn}" for turn in range(REQUESTS))
    expected = sum(1 + turn % 3 for turn in range(REQUESTS))
    # Grants and releases that a killed worker had in hand are settled some claim timeouts later.
    wait_until(
        lambda: api.get(f"/subnets/{subnet['id']}").json()["used"] == expected, 30, f"{expected} addresses used"
    )
    leases = assert_ledger_is_true(api, subnet["id"])
    assert len(leases) == expected
    for job in jobs:
        held = api.get(f"/reservations/{job['reservation']}").json()
        assert (held["count"], held["name"]) == (job["request"]["count"], job["request"]["name"])
    created = [one for one in assert_log_is_true(api) if one["type"] == "ipam.reservation.created"]
    assert sorted(one["data"]["id"] for one in created) == sorted(job["reservation"] for job in jobs)
    assert_hands_out_all(api, subnet["id"])


@pytest.mark.long
@pytest.mark.timeout(180)
@pytest.mark.parametrize("broker", ["redis"], indirect=True)
def test_releases_survive_the_death_of_the_web_process(lone_stack: Stack, broker: Process):
    """DELETE of reservations and leases while web is killed again and again: nothing leaks."""
    api = lone_stack.api
    subnet = api.subnet(cidr="10.0.0.0/24")
    reservations = [api.reserve(subnet, count=2) for _ in range(100)]
    paths = [f"/reservations/{one['id']}" for one in reservations[:50]]
    paths += [f"/leases/{one['leases'][0]['id']}" for one in reservations[50:]]

    def release(path: str) -> None:
        while True:
            try:
                if api.delete(path).status_code in (204, 404):
                    return
            except requests.RequestException:
                pass
            time.sleep(0.1)

    killer = Killer([lone_stack.web, lone_stack.relay], random.Random(SEED), ROUNDS)
    killer.start()
    all_at_once(8, release, paths)
    killer.join()
    wait_until(lambda: api.get(f"/subnets/{subnet['id']}").json()["used"] == 50, 30, "150 addresses to be free")
    assert_ledger_is_true(api, subnet["id"])

    def count(type_: str) -> int:
        return len(api.pages(f"/events?type={type_}", "events"))

    # Outboxes that a killed process left behind are looked after when they are as old as a claim.
    wait_until(lambda: count("ipam.reservation.deleted") == 50, 30, "the log to have 50 deleted reservations")
    wait_until(lambda: count("ipam.lease.released") == 50, 30, "the log to have 50 released leases")
    assert_log_is_true(api)
    assert_hands_out_all(api, subnet["id"])


@pytest.mark.long
@pytest.mark.timeout(180)
@pytest.mark.parametrize("broker", BROKERS, indirect=True)
def test_a_list_that_is_sent_until_it_is_answered_is_carried_out_once(lone_stack: Stack, broker: Process):
    """Under one key, while web and workers are killed again and again."""
    api = lone_stack.api
    subnet = api.subnet(cidr="10.0.0.0/22")
    body, key = {"reservations": [{"name": str(place)} for place in range(600)]}, {"Idempotency-Key": "a list"}
    killer = Killer([lone_stack.web, *lone_stack.workers], random.Random(SEED), ROUNDS)
    killer.start()

    def answer() -> requests.Response | None:
        """Unless it is not answered, or some of it goes on."""
        try:
            given = api.post(f"/subnets/{subnet['id']}/reservations", body, headers=key)
        except requests.RequestException:
            return None
        assert given.status_code in (200, 202, 503), given.text
        return given if given.status_code == 200 else None

    while killer.is_alive():
        answer()
    wait_until(answer, 120, "the list to be carried out")
    outcomes = answer().json()["outcomes"]
    assert [one["status"] for one in outcomes] == [201] * 600
    assert [one["reservation"]["name"] for one in outcomes] == [one["name"] for one in body["reservations"]]
    assert len({one["reservation"]["leases"][0]["address"] for one in outcomes}) == 600
    lone_stack.wait_for_jobs()
    assert len(assert_ledger_is_true(api, subnet["id"])) == 600
    assert_log_is_true(api)


@pytest.mark.timeout(120)
def test_bulk_write_that_was_acknowledged_outlives_the_database(database: Process):
    """Eight threads write to two collections in one call until the database is killed: nothing is gone."""
    chance = random.Random(SEED)
    acknowledged: list[ObjectId] = []

    def write_until_killed(_: int) -> None:
        stores = Stores(connect(mongo_uri(database.part.port), "test", 2))
        with contextlib.closing(stores.whole), contextlib.suppress(Transient, PyMongoError):
            while True:
                id_ = ObjectId()
                stores.writer.write([Writes(kind, inserts=[{"_id": id_}]) for kind in ("leases", "reservations")])
                acknowledged.append(id_)

    for _ in range(ROUNDS):
        killer = threading.Timer(chance.uniform(1, 2), database.kill)
        killer.start()
        all_at_once(8, write_until_killed, range(8))
        killer.join()
        database.start()
    with MongoClient(mongo_uri(database.part.port)) as client:
        for kind in ("leases", "reservations"):
            there = {bson["_id"] for bson in client["test"][kind].find({})}
            assert [id_ for id_ in acknowledged if id_ not in there] == [], f"of {len(acknowledged)} {kind}"
    print(f"{len(acknowledged)} calls in {ROUNDS} rounds")


@pytest.mark.timeout(300)
@pytest.mark.parametrize("broker", ["redis"], indirect=True)
def test_answered_reservation_is_there_when_the_database_is_back(
    lone_stack: Stack, broker: Process, database: Process
):
    """Eight clients reserve while the database is killed: each that was answered 201 can be read at once."""
    chance, api = random.Random(SEED), lone_stack.api
    path = f"/subnets/{api.subnet(cidr='10.0.0.0/20')['id']}/reservations"
    answered: list[str] = []

    def reserve_until(is_over: threading.Event) -> None:
        while not is_over.is_set():
            answer = api.post(path)
            assert answer.status_code in (201, 202, 503), answer.text
            if answer.status_code == 201:
                answered.append(answer.headers["Location"])

    for _ in range(ROUNDS):
        is_over, before = threading.Event(), len(answered)
        with ThreadPoolExecutor(8) as clients:
            busy = [clients.submit(reserve_until, is_over) for _ in range(8)]
            wait_until(lambda before=before: len(answered) > before + 20, 60, "reservations")
            time.sleep(chance.uniform(0, 0.5))
            database.kill()
            is_over.set()
            database.start()
            wait_until(lambda: api.get("/readyz").status_code == 200, 30, "readiness")
            statuses = Counter(api.get(one).status_code for one in answered[before:])
            assert set(statuses) == {200}, statuses
        for one in busy:
            one.result()
    print(f"{len(answered)} reservations in {ROUNDS} rounds")


@pytest.mark.timeout(120)
@pytest.mark.parametrize("broker", ["redis"], indirect=True)
def test_a_broker_that_loses_every_message_only_costs_time(lone_stack: Stack, broker: Process):
    api = lone_stack.api
    subnet = api.subnet(cidr="10.0.0.0/24")
    for worker in lone_stack.workers:
        worker.kill()
    path = f"/subnets/{subnet['id']}/reservations"
    for _ in range(20):
        assert api.post(path, headers={"Prefer": "respond-async"}).status_code == 202
    with Redis(port=broker.part.port) as client:
        client.flushall()
    for worker in lone_stack.workers:
        worker.start()
    lone_stack.wait_for_jobs()
    assert len(assert_ledger_is_true(api, subnet["id"])) == 20


@pytest.mark.timeout(120)
@pytest.mark.parametrize("broker", ["redis"], indirect=True)
def test_a_queued_job_can_be_cancelled_and_then_takes_nothing(lone_stack: Stack, broker: Process):
    api = lone_stack.api
    subnet = api.subnet(cidr="10.0.0.0/29")
    for worker in lone_stack.workers:
        worker.kill()
    path = f"/subnets/{subnet['id']}/reservations"
    jobs = [api.post(path, headers={"Prefer": "respond-async"}).json() for _ in range(2)]
    waited = api.post(path, headers={"Prefer": "wait=1"})
    assert (waited.status_code, waited.headers["Preference-Applied"]) == (202, "wait=1")
    gone = api.delete(f"/jobs/{jobs[0]['id']}")
    assert (gone.status_code, gone.headers["Location"]) == (204, "/jobs")
    assert api.get(f"/jobs/{jobs[0]['id']}").json()["state"] == "cancelled"
    for worker in lone_stack.workers:
        worker.start()
    lone_stack.wait_for_jobs()
    assert api.get(f"/jobs/{jobs[1]['id']}").json()["state"] == "succeeded"
    assert api.get(f"/jobs/{jobs[0]['id']}").json()["reservation"] is None
    assert len(assert_ledger_is_true(api, subnet["id"])) == 2
