"""What is measured, each beside what bounds it, turn about in one run."""

from __future__ import annotations

import json
import os
import statistics
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from http import HTTPStatus
from ipaddress import ip_address
from threading import Event
from typing import Any

from bson import ObjectId
from falcon.testing import TestClient
from pymongo import MongoClient

from benchmarks.clients import Client, seconds, times_of
from benchmarks.installation import Installation
from benchmarks.limits import (
    BareCalls,
    Batches,
    ListedDocuments,
    seconds_to_free,
    seconds_to_insert,
    wait_until_done,
)
from ipam.allocation.job_runner import BATCH_JOBS
from ipam.api.app import ApiOptions, create_app
from ipam.hooks.admission import AdmissionController
from ipam.models.lease import Lease
from ipam.models.reservation_request import ReservationRequest
from ipam.settings import Settings
from ipam.storage.stores import Stores
from ipam.wiring import build_services
from tests.support.call_counter import Calls, NoDispatcher, web_with_worker

# Measured by the contract on two cores of this kind, over REST.
NETBOX_A_SECOND = 40.0
NIPAP_READS_A_SECOND = 1423.0
CLIENTS = 8
MANY_CLIENTS = 64
BULK = 1000
ASYNC = {"Prefer": "respond-async"}
Step = Callable[[], None]


@dataclass(frozen=True)
class Effort:
    """How much is done of everything.

    Attributes:
        rounds: Turns of each row and of what bounds it.
        requests: Requests of one turn of many clients.
        samples: Requests of one turn of one client.
        total: Requests at 64 clients.
    """

    rounds: int
    requests: int
    samples: int
    total: int


QUICK = Effort(rounds=2, requests=80, samples=10, total=200)
FULL = Effort(rounds=5, requests=240, samples=20, total=1000)
# Requests after which memory is looked at.
MEMORY_AFTER = (1000, 10_000, 100_000)


@dataclass
class Row:
    """A line of the table.

    Attributes:
        unit: Of `limit` and `ours`; a ratio is ours to the limit, of their medians.
        aim: What the ratio is to be at least, or at most if `is_most`; None if there is no aim.
    """

    name: str
    against: str
    unit: str
    aim: float | None = None
    is_most: bool = False
    limit: list[float] = field(default_factory=list)
    ours: list[float] = field(default_factory=list)

    @property
    def ratio(self) -> float | None:
        """Ours to the limit."""
        return statistics.median(self.ours) / statistics.median(self.limit) if self.limit and self.ours else None

    @property
    def is_met(self) -> bool | None:
        """Whether the aim is reached; None if there is none."""
        if self.aim is None or self.ratio is None:
            return None
        return self.ratio <= self.aim if self.is_most else self.ratio >= self.aim


@dataclass(frozen=True)
class Measurement:
    """Lines of the table that are filled together, and what fills them, turn by turn."""

    rows: list[Row]
    turns: list[Step]


def one_client(made: Installation, effort: Effort) -> Measurement:
    """Median latency of a sync request of one client."""
    row = Row("sync request, 1 client", "an empty Celery task's round trip", "ms", 2.5, is_most=True)
    floor = Row("an empty task, and the calls to the database of such a request made bare", row.against, "ms")
    busy = _busy(made, row, "database")
    subnet, calls = made.subnet(cidr="10.0.0.0/16"), BareCalls(made.bare)

    def turn() -> None:
        tasks = [1000 * seconds(made.empty.round_trip) for _ in range(effort.samples)]
        both = [task + 1000 * seconds(calls.make) for task in tasks]
        for one in (row, floor):
            one.limit.append(statistics.median(tasks))
        floor.ours.append(statistics.median(both))
        with busy.while_it_lasts():
            row.ours.append(statistics.median(latencies(made, subnet, effort.samples)))

    return Measurement([row, floor, *busy.all_rows], [turn] * effort.rounds)


def many_clients(made: Installation, effort: Effort) -> Measurement:
    """Sync requests of 8 clients."""
    row = Row(f"sync requests, {CLIENTS} clients", "NetBox 4.6.8, as measured before", "a second", 6.0)
    floor = Row(
        f"the calls to the database of such requests, made bare by {CLIENTS} threads", row.against, row.unit
    )
    alone = f"batches of {CLIENTS} such requests, without HTTP and queue"
    batched, by_database = (
        Row(name, row.against, row.unit) for name in (alone, f"{alone}, by the processor time of the database")
    )
    busy = _busy(made, row, "database", "web", "worker")
    subnet, calls = made.subnet(cidr="10.0.0.0/16"), BareCalls(made.bare)
    batches = Batches(made.bare.client[f"{made.bare.name}-batches"])

    def turn() -> None:
        for one in (row, floor, batched, by_database):
            one.limit.append(NETBOX_A_SECOND)
        took, _ = times_of(CLIENTS, effort.requests, lambda _: calls.make())
        floor.ours.append(effort.requests / took)
        before = made.used_s("database") if "database" in made.processes else None
        took = seconds(partial(batches.carry_out, effort.requests, CLIENTS))
        batched.ours.append(effort.requests / took)
        if before is not None:
            by_database.ours.append(effort.requests / (made.used_s("database") - before))
        with busy.while_it_lasts():
            row.ours.append(_speed(made, subnet, CLIENTS, effort.requests))

    return Measurement([row, floor, batched, by_database, *busy.all_rows], [turn] * effort.rounds)


def accepted_then_done(made: Installation, effort: Effort) -> Measurement:
    """Async requests from HTTP until they have ended."""
    row = Row("async requests, until they have ended", "empty Celery tasks without results", "a second", 0.3)
    busy = _busy(made, row, "database")
    subnet = made.subnet(cidr="10.0.0.0/16")
    path = f"/subnets/{subnet['id']}/reservations"

    def all_done() -> None:
        times_of(CLIENTS, effort.requests, lambda _: made.client.post(path, {}, **ASYNC))
        wait_until_done(made.client)

    def turn() -> None:
        row.limit.append(effort.requests / made.empty.seconds_for(effort.requests))
        with busy.while_it_lasts():
            row.ours.append(effort.requests / seconds(all_done))

    return Measurement([row, *busy.all_rows], [turn] * effort.rounds)


def wherever(made: Installation, effort: Effort) -> Measurement:
    """One address of subnets of any size and however full, with each strategy, beside an empty /24."""
    subnets = {
        "an empty /24": made.subnet(cidr="10.0.0.0/24"),
        "a /8": made.subnet(cidr="10.0.0.0/8"),
        "an IPv6 /64": made.subnet(cidr="2001:db8::/64"),
        "a /16, half full": made.subnet(cidr="10.0.0.0/16"),
        "a /16, 99 % full": made.subnet(cidr="10.0.0.0/16"),
    }
    made.fill(subnets["a /16, half full"], 0.5)
    made.fill(subnets["a /16, 99 % full"], 0.99, runs_of=16)
    forms: list[tuple[str, dict[str, Any]]] = [(how, {"strategy": how}) for how in ("next", "lowest", "random")]
    cases = [(where, name, form) for name, form in forms for where in subnets]
    cases.append(("a /16, 99 % full", "16 in a row", {"count": 16, "contiguous": True}))
    rows = {
        (where, name): Row(
            f"{name}, of {where}",
            f"{name if name != '16 in a row' else 'next'}, of an empty /24",
            "ms",
            1.3,
            is_most=True,
        )
        for where, name, _ in cases
    }
    rows["a /16, 99 % full", "16 in a row"].aim = 3.0

    def turn() -> None:
        found: dict[tuple[str, str], list[float]] = {place: [] for place in rows}
        for _ in range(effort.samples // 2):  # Each case in its turn, so that all meet the same moments.
            for where, name, form in cases:
                found[where, name] += latencies(made, subnets[where], 1, form, give_back=True)
        for (where, name), row in rows.items():
            row.ours.append(statistics.median(found[where, name]))
            quiet = name if name != "16 in a row" else "next"
            row.limit.append(statistics.median(found["an empty /24", quiet]))

    told = [row for (where, _), row in rows.items() if where != "an empty /24"]
    return Measurement(told, [turn] * effort.rounds)


def bulk(made: Installation, effort: Effort) -> Measurement:
    """One request for 1000 addresses."""
    row = Row(
        f"{BULK} addresses in one request", "a bare insert_many of their documents", "addresses a second", 0.5
    )
    subnet = made.subnet(cidr="10.0.0.0/12")

    def turn() -> None:
        row.limit.append(BULK / seconds_to_insert(made.bare["leases"], _leases()))
        ask = partial(made.client.post, f"/subnets/{subnet['id']}/reservations", {"count": BULK})
        row.ours.append(BULK / seconds(ask))

    return Measurement([row], [turn] * effort.rounds)


def listed(made: Installation, effort: Effort) -> Measurement:
    """1000 requests for one address each in one POST."""
    row = Row(f"{BULK} requests in one POST", "a bare insert_many of their documents", "requests a second", 0.3)
    floor = Row("such documents stored with their indexes, and the jobs closed", row.against, row.unit)
    busy = _busy(made, row, "database")
    subnet = made.subnet(cidr="10.0.0.0/12")
    indexed = Stores(made.bare.client[f"{made.bare.name}-listed"])
    indexed.indexes.create()
    body = {"reservations": [{}] * BULK}

    def ask() -> None:
        status, answer = made.client.request(
            "POST", f"/subnets/{subnet['id']}/reservations", body, Prefer="wait=60"
        )
        outcomes = json.loads(answer)["outcomes"]
        assert status == HTTPStatus.OK, status
        assert [one["status"] for one in outcomes] == [HTTPStatus.CREATED] * BULK

    def turn() -> None:
        documents = ListedDocuments(BULK)
        took = documents.seconds_to_insert(made.bare)
        for one in (row, floor):
            one.limit.append(BULK / took)
        floor.ours.append(BULK / documents.seconds_to_store(indexed, BATCH_JOBS))
        with busy.while_it_lasts():
            row.ours.append(BULK / seconds(ask))
        made.wait_for_log()  # Or what is measured next would pay for it.

    return Measurement([row, floor, *busy.all_rows], [turn] * effort.rounds)


def given_back(made: Installation, effort: Effort) -> Measurement:
    """A reservation of 1000 addresses is released."""
    row = Row(f"{BULK} addresses given back", "a bare bulk update of as many leases", "addresses a second", 0.7)
    subnet = made.subnet(cidr="10.0.0.0/12")

    def turn() -> None:
        documents = _leases()
        made.bare["leases"].insert_many(documents)
        row.limit.append(BULK / seconds_to_free(made.bare["leases"], [bson["_id"] for bson in documents]))
        held = made.client.post(f"/subnets/{subnet['id']}/reservations", {"count": BULK})
        row.ours.append(BULK / seconds(lambda: made.client.delete(f"/reservations/{held['id']}")))

    return Measurement([row], [turn] * effort.rounds)


def reads(made: Installation, effort: Effort) -> Measurement:
    """GET of one reservation by 8 clients."""
    name, against = f"reads of a reservation, {CLIENTS} clients", "NIPAP, as measured before"
    row = Row(name, against, "a second", 0.6)
    floor = Row(f"GET /livez, {CLIENTS} clients: HTTP and nothing else", against, "a second")
    busy = _busy(made, row, "database", "web")
    subnet = made.subnet(cidr="10.0.0.0/24")
    path = "/reservations/" + made.client.post(f"/subnets/{subnet['id']}/reservations", {})["id"]
    requests = 3 * effort.requests

    def speed(what: str) -> float:
        took, _ = times_of(CLIENTS, requests, lambda _: made.client.get(what))
        return requests / took

    def turn() -> None:
        with busy.while_it_lasts():
            row.ours.append(speed(path))
        floor.ours.append(speed("/livez"))
        for one in (row, floor):
            one.limit.append(NIPAP_READS_A_SECOND)

    return Measurement([row, *busy.all_rows, floor], [turn] * effort.rounds)


def none_lost(made: Installation, effort: Effort) -> Measurement:
    """Requests at 64 at once: none is lost; how long they take."""
    name = f"{effort.total} sync requests, {MANY_CLIENTS} at once"
    rows = [Row(f"{name}: {what}", "", "ms") for what in ("median", "99th percentile", "distinct addresses")]
    rows[2].unit, rows[2].against, rows[2].aim = "addresses", "requests", 1.0
    subnet = made.subnet(cidr="10.0.0.0/16")

    def turn() -> None:
        seen: list[str] = []

        def ask(_: int) -> None:
            held = made.client.post(f"/subnets/{subnet['id']}/reservations", {}, Prefer="wait=60")
            seen.append(held["leases"][0]["address"])

        _, each = times_of(MANY_CLIENTS, effort.total, ask)
        rows[0].ours.append(1000 * statistics.median(each))
        rows[1].ours.append(1000 * statistics.quantiles(each, n=100)[98])
        rows[2].ours.append(len(set(seen)))
        rows[2].limit.append(effort.total)

    return Measurement(rows, [turn])


def calls(made: Installation, _effort: Effort) -> Measurement:
    """Calls to the database: of a worker for a batch, of a web process for a request."""
    batches = (1, CLIENTS, 200)
    rows = {
        (size, what): Row(f"worker: {what} for a batch of {size}", "the aim", "calls", 1.0, is_most=True)
        for size in batches
        for what in ("reads", "writes")
    }
    web = Row("web: calls for a sync request", "the aim", "calls", 1.0, is_most=True)

    def count() -> None:
        listener = Calls()
        settings = Settings()
        with MongoClient(made.mongo, tz_aware=True, event_listeners=[listener]) as counted:
            database = made.stack.environment["IPAM_DATABASE"]
            # A database of its own, which no worker of the stack looks after.
            stores, plain = Stores(counted[f"{database}-calls"]), Stores(made.bare.client[f"{database}-calls"])
            watched = build_services(stores, settings, NoDispatcher(), AdmissionController())
            client = TestClient(
                create_app(web_with_worker(stores, plain), lambda: None, Event(), ApiOptions(["*"]))
            )
            pool = client.simulate_post("/pools", json={}).json
            subnet = client.simulate_post(f"/pools/{pool['id']}/subnets", json={"cidr": "10.0.0.0/22"}).json
            for size in batches:
                stored = plain.subnets.get(ObjectId(subnet["id"]))
                for _ in range(size):
                    watched.job_queue.accept(ObjectId(), stored, ReservationRequest())
                reads, writes = listener.of(partial(watched.job_runner.run, stored.id))
                for what, made_, aim in (("reads", reads, 3.0), ("writes", writes, 6.0)):
                    rows[size, what].ours.append(float(made_))
                    rows[size, what].limit.append(aim)
            path = f"/subnets/{subnet['id']}/reservations"
            web.ours.append(float(sum(listener.of(partial(client.simulate_post, path, json={})))))
            web.limit.append(5.0)
            counted.drop_database(f"{database}-calls")

    return Measurement([*rows.values(), web], [count])


def memory(made: Installation, _effort: Effort) -> Measurement:
    """What web, worker and relay hold after so many requests, of which a tenth reserve or give back."""
    names = ("web", "worker", "relay")
    rows = [
        [Row(f"memory of {name} after {requests:,} requests", "", "MiB") for name in names]
        for requests in MEMORY_AFTER
    ]
    users = [_User(made.client, made.subnet(cidr="10.0.0.0/16")) for _ in range(CLIENTS)]
    done = 0

    def until(requests: int, told: list[Row]) -> None:
        nonlocal done
        times_of(CLIENTS, requests - done, lambda turn: users[turn % CLIENTS].ask(turn // CLIENTS))
        done = requests
        for name, row in zip(names, told, strict=True):
            row.ours.append(made.memory_mib(name))

    return Measurement(
        [row for told in rows for row in told],
        [partial(until, requests, told) for requests, told in zip(MEMORY_AFTER, rows, strict=True)],
    )


class _User:
    """Does this and that with one subnet."""

    def __init__(self, client: Client, subnet: dict[str, Any]) -> None:
        self._client = client
        self._subnet, self._pool = f"/subnets/{subnet['id']}", f"/pools/{subnet['pool']}"
        self._held: deque[str] = deque()

    def ask(self, turn: int) -> None:
        """The request of this *turn*."""
        match turn % 20:
            case 0:
                held = self._client.post(f"{self._subnet}/reservations", {"name": "x", "metadata": {"turn": turn}})
                self._held.append(held["id"])
            case 1 if len(self._held) > 1:
                self._client.delete(f"/reservations/{self._held.popleft()}")
            case 2 if self._held:
                self._client.get(f"/reservations/{self._held[-1]}?embed=leases")
            case at:
                self._client.get(self._pool if at % 2 else self._subnet)


def crowded(made: Installation, effort: Effort) -> Measurement:
    """What is done with a small subnet in an empty database, and again with 200,000 leases in other subnets."""
    rows = {
        deed: Row(f"{deed} a /24 beside 200,000 leases", "in an empty database", "ms", 2.0, is_most=True)
        for deed in ("create", "reserve from", "list the leases of", "release from", "delete")
    }
    pool = made.client.post("/pools", {"name": "measured"})

    def look(into: str) -> None:
        found: dict[str, list[float]] = {deed: [] for deed in rows}
        for _ in range(effort.samples):
            for deed, took in _life_of_a_subnet(made.client, pool["id"]).items():
                found[deed].append(1000 * took)
        for deed, row in rows.items():
            getattr(row, into).append(statistics.median(found[deed]))

    def crowd() -> None:
        for _ in range(4):
            made.fill(made.subnet(cidr="10.0.0.0/16"), 0.77)

    before, after = [partial(look, "limit")] * effort.rounds, [partial(look, "ours")] * effort.rounds
    return Measurement(list(rows.values()), [*before, crowd, *after])


MEASURED = (
    *(calls, one_client, many_clients, accepted_then_done, wherever),
    *(bulk, given_back, reads, none_lost, listed),
)
# On servers of their own, which are empty.
MEASURED_APART = (crowded,)
# And only if they are named: for ten minutes.
MEASURED_IF_NAMED = (memory,)


def _speed(made: Installation, subnet: dict[str, Any], clients: int, requests: int) -> float:
    path = f"/subnets/{subnet['id']}/reservations"
    took, _ = times_of(clients, requests, lambda _: made.client.post(path, {}))
    return requests / took


def latencies(
    made: Installation,
    subnet: dict[str, Any],
    requests: int,
    form: dict[str, Any] | None = None,
    *,
    give_back: bool = False,
) -> list[float]:
    """How many ms requests of one client take, one after the other."""
    path, held = f"/subnets/{subnet['id']}/reservations", []

    def ask() -> None:
        held.append(made.client.post(path, form or {}))

    found = []
    for _ in range(requests):
        found.append(1000 * seconds(ask))
        if give_back:
            made.client.delete(f"/reservations/{held[-1]['id']}")
    return found


@dataclass(frozen=True)
class _Busy:
    """Which share of a core some processes use while something lasts, and of all cores the machine.

    Who has all of one bounds it.
    """

    made: Installation
    rows: dict[str, Row]
    machine: Row

    @property
    def all_rows(self) -> list[Row]:
        """Those that are filled."""
        return [*self.rows.values(), self.machine]

    @contextmanager
    def while_it_lasts(self) -> Iterator[None]:
        before = {name: self.made.used_s(name) for name in self.rows}
        machine_before, began = self.made.machine_used_s(), time.perf_counter()
        yield
        took_s = time.perf_counter() - began
        self.machine.limit.append(100.0)
        self.machine.ours.append(
            100 * (self.made.machine_used_s() - machine_before) / took_s / (os.cpu_count() or 1)
        )
        for name, row in self.rows.items():
            row.limit.append(100.0)
            row.ours.append(100 * (self.made.used_s(name) - before[name]) / took_s)


def _busy(made: Installation, row: Row, *names: str) -> _Busy:
    known = [name for name in names if name in made.processes]
    rows = {name: Row(f"{row.name}: {name} busy", "a core", "%") for name in known}
    return _Busy(made, rows, Row(f"{row.name}: machine busy", "all cores", "%"))


def _leases() -> list[dict[str, Any]]:
    return [_lease().to_bson() for _ in range(BULK)]


def _lease() -> Lease:
    number = int(ObjectId().binary.hex(), 16) % 2**32
    return Lease(
        id=ObjectId(),
        subnet=ObjectId(),
        pool=ObjectId(),
        reservation=ObjectId(),
        address=ip_address(number),
        entry=1,
    )


def _life_of_a_subnet(client: Client, pool: str) -> dict[str, float]:
    """How long each part of it takes; it holds a hundred leases, and one more that is given back."""
    there: dict[str, str] = {}

    def create() -> None:
        there["subnet"] = client.post(f"/pools/{pool}/subnets", {"cidr": "10.0.0.0/24"})["id"]

    def reserve(count: int = 1) -> None:
        there["held"] = client.post(f"/subnets/{there['subnet']}/reservations", {"count": count})["id"]

    took = {"create": seconds(create)}
    reserve(100)
    took["reserve from"] = seconds(reserve)
    took["list the leases of"] = seconds(lambda: client.get(f"/subnets/{there['subnet']}/leases"))
    took["release from"] = seconds(lambda: client.delete(f"/reservations/{there['held']}"))
    took["delete"] = seconds(lambda: client.delete(f"/subnets/{there['subnet']}"))
    return took
