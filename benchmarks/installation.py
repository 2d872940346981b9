"""Servers and processes of ipam to be measured, and subnets that are filled without asking it."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psutil
from bson import ObjectId
from pymongo import MongoClient
from pymongo.database import Database
from pyroaring import FrozenBitMap

from benchmarks.clients import Client
from benchmarks.limits import EmptyCelery
from ipam.embedded.processes import mongo_uri
from ipam.models.address_set import BLOCK_BITS, BLOCK_SIZE, AddressSet
from ipam.models.addresses import from_number
from ipam.models.block import Block
from ipam.models.lease import Lease
from ipam.models.reservation import Reservation
from ipam.models.reserved_addresses import SubnetAddresses
from ipam.settings import Settings
from ipam.storage.stores import Stores
from tests.support import servers
from tests.support.servers import wait_until
from tests.support.stack import Stack

# Celery's worker as the tests start it.
PROCESSES = 2
_LOG_TIMEOUT_S = 120


@dataclass(frozen=True)
class Installation:
    """All that is measured, and what it is measured against.

    Attributes:
        processes: The first process of each part by name; the database is among them only if it was started here.
    """

    stack: Stack
    client: Client
    stores: Stores
    empty: EmptyCelery
    mongo: str
    bare: Database[Any]
    processes: dict[str, int]

    def used_s(self, name: str) -> float:
        """How many seconds of processor that process and its children have used."""
        first = psutil.Process(self.processes[name])
        times = (one.cpu_times() for one in (first, *first.children(recursive=True)))
        return sum(one.user + one.system for one in times)

    @staticmethod
    def machine_used_s() -> float:
        """How many seconds of its processors the machine has used, for whatever."""
        times = psutil.cpu_times()._asdict()
        return float(sum(took for name, took in times.items() if name not in ("idle", "iowait", "steal")))

    def memory_mib(self, name: str) -> float:
        """How much memory that process and its children take, what they share being counted once."""
        first = psutil.Process(self.processes[name])
        return float(sum(one.memory_full_info().pss for one in (first, *first.children(recursive=True))) / 2**20)

    def subnet(self, **fields: Any) -> dict[str, Any]:
        """A new subnet in a pool of its own."""
        pool = self.client.post("/pools", {"name": "measured"})
        return self.client.post(f"/pools/{pool['id']}/subnets", fields)

    def wait_for_log(self) -> None:
        """Wait until the audit log has all that has happened."""
        untold = self.bare.client[self.stack.environment["IPAM_DATABASE"]]["events"]
        wait_until(lambda: untold.find_one() is None, _LOG_TIMEOUT_S, "the audit log to be complete")

    def fill(self, subnet: dict[str, Any], share: float, runs_of: int = 0) -> None:
        """Take so large a *share* of a small subnet's addresses, at random; some runs are left free, if so long."""
        stored = self.stores.subnets.read(ObjectId(subnet["id"]))
        chance = random.Random(1)
        addresses = [number for first, last in stored.space.runs for number in range(first, last + 1)]
        taken = set(chance.sample(addresses, int(share * len(addresses))))
        for _ in range(64 if runs_of else 0):
            first = chance.choice(addresses[:-runs_of])
            taken -= set(range(first, first + runs_of))
        holding = SubnetAddresses(stored.id, AddressSet.of(map(from_number, taken)))
        reservation = Reservation(
            id=ObjectId(), pool=stored.pool, subnets=(stored.id,), count=len(taken), holdings=(holding,)
        )
        self.stores.writer.write([self.stores.reservations.insertion([reservation])])
        leases = (
            Lease(
                id=ObjectId(),
                subnet=stored.id,
                pool=stored.pool,
                reservation=reservation.id,
                address=from_number(number),
                entry=1,
            ).to_bson()
            for number in sorted(taken)
        )
        for writes in self.stores.leases.insertion(leases):
            self.stores.writer.write([writes])
        for number in {one >> BLOCK_BITS for one in taken}:
            positions = FrozenBitMap(one % BLOCK_SIZE for one in taken if one >> BLOCK_BITS == number)
            block = Block(subnet=stored.id, number=number).succeeded_by(positions, positions)
            assert self.stores.writer.write([self.stores.blocks.succession([block])])
        ledger = self.stores.ledgers.find(stored.id)
        assert ledger is not None
        self.stores.ledgers.write(replace(ledger, used=len(taken)))


@contextmanager
def installed(folder: Path) -> Iterator[Installation]:
    """Everything started, on servers of its own or those that `IPAM_BENCH_MONGO` and `IPAM_BENCH_BROKER` name."""
    with ExitStack() as running:
        mongo, broker = os.environ.get("IPAM_BENCH_MONGO"), os.environ.get("IPAM_BENCH_BROKER")
        processes: dict[str, int] = {}
        if mongo is None:
            database = servers.database(folder)
            database.start()
            running.callback(database.stop)
            mongo = mongo_uri(database.part.port)
            processes["database"] = database.pid
        if broker is None:
            redis = servers.redis(folder)
            redis.start()
            running.callback(redis.stop)
            broker = f"redis://127.0.0.1:{redis.part.port}/0"
        usual = Settings()
        stack = Stack(
            mongo,
            broker,
            folder,
            IPAM_CLAIM_TIMEOUT_S=str(usual.claim_timeout_s),
            IPAM_RECOVERY_INTERVAL_S=str(usual.recovery_interval_s),
        )
        running.callback(stack.stop)
        stack.start()
        empty = EmptyCelery(
            f"{broker[:-1]}1" if broker.startswith("redis") and broker.endswith("/0") else broker, folder, PROCESSES
        )
        running.callback(empty.stop)
        empty.start()
        connection: MongoClient[Any] = running.enter_context(MongoClient(mongo, tz_aware=True))
        name = stack.environment["IPAM_DATABASE"]
        yield Installation(
            stack=stack,
            client=Client(stack.api.url),
            stores=Stores(connection[name]),
            empty=empty,
            mongo=mongo,
            bare=connection[f"{name}-bare"],
            processes={**processes, "web": stack.web.pid, "worker": stack.workers[0].pid, "relay": stack.relay.pid},
        )
        for one in (name, f"{name}-bare", f"{name}-bare-batches", f"{name}-bare-listed"):
            connection.drop_database(one)
