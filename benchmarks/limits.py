"""What ipam's parts do at best: Celery with tasks that do nothing, the database with bare writes."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from functools import partial
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from bson import ObjectId
from celery import Celery
from celery.result import AsyncResult
from pymongo import InsertOne, UpdateOne
from pymongo.collection import Collection
from pymongo.database import Database

from benchmarks.clients import seconds
from ipam.allocation.provisioning import SubnetSpec
from ipam.embedded.processes import ProcessSpec
from ipam.events.relay import Relay
from ipam.hooks.admission import AdmissionController
from ipam.models import event_factory
from ipam.models.address_set import AddressSet
from ipam.models.addresses import from_number
from ipam.models.audit_context import AuditContext
from ipam.models.block import Block
from ipam.models.cidr import bounds, parse_network
from ipam.models.job import Job, JobKind
from ipam.models.lease import Lease
from ipam.models.ledger import Ledger
from ipam.models.pool import Pool
from ipam.models.reservation import Reservation
from ipam.models.reservation_request import ReservationRequest
from ipam.models.reserved_addresses import SubnetAddresses
from ipam.models.subnet import Subnet
from ipam.settings import Settings
from ipam.storage.stores import Stores
from ipam.util.clock import utc_now
from ipam.wiring import build_services
from tests.support.call_counter import NoDispatcher
from tests.support.servers import Process, wait_until

BROKER_VARIABLE = "IPAM_BENCH_EMPTY_BROKER"
_TIMEOUT_S = 120


def _app(broker: str) -> Celery:
    """As ipam sets Celery up, but for a place where results go."""
    return Celery("empty", broker=broker, backend=broker if broker.startswith("redis") else "rpc://")


empty = _app(os.environ.get(BROKER_VARIABLE, ""))
empty.conf.update(task_acks_late=True, worker_prefetch_multiplier=4)


@empty.task(name="empty.nothing")
def nothing() -> None:
    """Do nothing."""


class EmptyCelery:
    """A worker with as many processes as ipam's, on the same broker, whose tasks do nothing."""

    def __init__(self, broker: str, folder: Path, processes: int) -> None:
        self._app = _app(broker)
        command = [sys.executable, "-m", "celery", "-A", "benchmarks.limits:empty", "worker"]
        command += ["--concurrency", str(processes), "--without-mingle", "--without-gossip"]
        part = ProcessSpec("empty", command, None, {BROKER_VARIABLE: broker})
        self._worker = Process(part, folder / "empty.log")

    def start(self) -> None:
        """Start the worker and see it work."""
        self._worker.start()
        self.round_trip()

    def stop(self) -> None:
        """Stop the worker."""
        self._worker.stop()

    def round_trip(self) -> None:
        """Have one task done and hear of it."""
        self._send().get(timeout=_TIMEOUT_S)

    def seconds_for(self, tasks: int) -> float:
        """How long it takes to send so many tasks and have them done, one result telling of all before it."""

        def work() -> None:
            for _ in range(tasks - 1):
                self._app.send_task("empty.nothing", ignore_result=True)
            self.round_trip()

        return seconds(work)

    def _send(self) -> AsyncResult:
        return self._app.send_task("empty.nothing")


class BareCalls:
    """The calls to the database of one request for one address, and nothing around them.

    They are what web and worker make (`tests/contract/test_calls.py` counts them), with documents as those are, in
    collections without any index: what any service takes that makes them one after the other.
    """

    def __init__(self, database: Database[Any]) -> None:
        self._database = database
        start = ip_address("10.0.0.0")
        self._pool = Pool(id=ObjectId())
        self._subnet = Subnet(id=ObjectId(), pool=self._pool.id, start=start, end=start + 65535, size=65536)
        block = Block(subnet=self._subnet.id, number=0).to_bson()
        self._block = block["_id"]
        self._database["pools"].insert_one(self._pool.to_bson())
        self._database["subnets"].insert_one(self._subnet.to_bson())
        self._database["ledgers"].insert_one(Ledger.of(self._subnet).to_bson())
        self._database["blocks"].insert_one(block)

    def make(self) -> None:
        """Make them once."""
        subnet, pool, now, job = self._subnet.id, self._pool.id, utc_now(), _job(self._subnet)
        self._database["subnets"].find_one({"_id": subnet})
        self._database["jobs"].insert_one(job.to_bson())
        self._database["pools"].find_one({"_id": pool}, {"metadata": 1})
        ledger = self._database["ledgers"].find_one({"_id": subnet}) or {}
        self._database["jobs"].find_one({"_id": job.id})
        self._database["blocks"].find_one({"_id": self._block})
        version = {"version": ledger["version"]}
        taken = {"$set": {"grants": ledger["grants"], "at": now}}
        self._database["ledgers"].update_one({"_id": subnet, **version}, taken)
        lease = Lease(
            id=ObjectId(), subnet=subnet, pool=pool, reservation=job.reservation, entry=1,
            address=from_number(int.from_bytes(ObjectId().binary, "big")),
        )  # fmt: skip
        holding = SubnetAddresses(subnet, AddressSet.of([lease.address]))
        reservation = Reservation(id=job.reservation, pool=pool, subnets=(subnet,), count=1, holdings=(holding,))
        event = event_factory.reserved(reservation, AuditContext())
        ended = {"$set": {"state": "succeeded", "finished_at": now}, "$inc": {"revision": 1}}
        named = partial("{}.{}".format, self._database.name)
        self._database.client.bulk_write(
            [
                InsertOne(lease.to_bson(), named("leases")),
                InsertOne({"events": [event.to_bson()]}, named("events")),
                InsertOne(reservation.to_bson(), named("reservations")),
                UpdateOne({"_id": job.id, "state": "queued"}, ended, namespace=named("jobs")),
                UpdateOne({"_id": self._block}, {"$set": {"at": now}}, namespace=named("blocks")),
                UpdateOne({"_id": subnet, **version}, {"$set": {"at": now}}, namespace=named("ledgers")),
            ]
        )


class Batches:
    """Requests for one address of one subnet that all come together: what web, worker and relay do in the database.

    ipam's own services do it, in this process and in a database of their own; there is no HTTP, no queue and nobody
    else.
    """

    _RELAYED_TOGETHER = 3  # The relay looks five times a second.

    def __init__(self, database: Database[Any]) -> None:
        self._stores = Stores(database)
        self._stores.indexes.create()
        self._services = build_services(self._stores, Settings(), NoDispatcher(), AdmissionController())
        self._relay = Relay(self._stores)
        self._pool = self._services.provisioner.create_pool(Pool(id=ObjectId())).id
        start, end = bounds(parse_network("10.0.0.0/16", ""))
        self._subnet = self._services.provisioner.create_subnet(
            ObjectId(), self._pool, SubnetSpec(start=start, end=end)
        ).id

    def carry_out(self, requests: int, at_once: int) -> None:
        """Carry out so many *requests*, in batches of *at_once*."""
        for batch in range(requests // at_once):
            subnet = self._stores.subnets.read(self._subnet)
            self._stores.jobs.insert(*(_job(subnet) for _ in range(at_once)))
            self._stores.pools.metadata_of([self._pool])
            self._services.job_runner.run(self._subnet)
            if batch % self._RELAYED_TOGETHER == 0:
                self._relay.step()


class ListedDocuments:
    """What is stored of so many requests for one address each that came in one list: jobs, reservations, leases."""

    def __init__(self, count: int) -> None:
        start = ip_address("10.0.0.0")
        subnet = Subnet(id=ObjectId(), pool=ObjectId(), start=start, end=start + count - 1, size=count)
        self._jobs = [_job(subnet) for _ in range(count)]
        holdings = [(SubnetAddresses(subnet.id, AddressSet.of([start + n])),) for n in range(count)]
        self._reservations = [
            Reservation(id=job.reservation, pool=subnet.pool, subnets=(subnet.id,), count=1, holdings=held)
            for job, held in zip(self._jobs, holdings, strict=True)
        ]
        self._leases = [
            Lease(
                id=ObjectId(),
                subnet=subnet.id,
                pool=subnet.pool,
                reservation=job.reservation,
                address=start + n,
                entry=1,
            ).to_bson()
            for n, job in enumerate(self._jobs)
        ]

    def seconds_to_insert(self, database: Database[Any]) -> float:
        """How long a bare `insert_many` of each kind takes, into collections without any index."""
        written = {"jobs": self._jobs, "reservations": self._reservations}
        stored = {name: [one.to_bson() for one in some] for name, some in written.items()}
        return sum(
            seconds_to_insert(database[name], some) for name, some in {**stored, "leases": self._leases}.items()
        )

    def seconds_to_store(self, stores: Stores, at_once: int) -> float:
        """How long it takes to store them with their indexes, *at_once* of each in a call, and close the jobs."""

        def work() -> None:
            for first in range(0, len(self._jobs), at_once):
                some = slice(first, first + at_once)
                stores.jobs.insert(*self._jobs[some])
                leases, made = stores.leases.insertion(self._leases[some]), self._reservations[some]
                closed = stores.jobs.success(replace(job, finished_at=utc_now()) for job in self._jobs[some])
                stores.writer.write([*leases, stores.reservations.insertion(made), closed])

        return seconds(work)


def _job(subnet: Subnet) -> Job:
    return Job(
        id=ObjectId(), kind=JobKind.RESERVATION, target=subnet.id, pool=subnet.pool, subnet=subnet.id,
        request=ReservationRequest().to_json(), reservation=ObjectId(),
    )  # fmt: skip


def seconds_to_insert(collection: Collection, documents: list[dict]) -> float:
    """How long a bare `insert_many` takes."""
    return seconds(lambda: collection.insert_many(documents, ordered=False))


def seconds_to_free(collection: Collection, keys: list[object]) -> float:
    """How long a bare bulk update takes that removes from each lease by what it is found as held."""
    updates = [UpdateOne({"_id": key}, {"$unset": {"lease": 1, "reservation": 1}}) for key in keys]
    return seconds(lambda: collection.bulk_write(updates, ordered=False))


def wait_until_done(client: object, timeout_s: float = 600) -> None:
    """Wait until every job has ended."""
    for state in ("queued", "running"):
        wait_until(lambda state=state: not client.get(f"/jobs?state={state}&limit=1")["jobs"], timeout_s, "jobs")
