"""What ipam's parts do at best: Celery with tasks that do nothing, the database with bare writes."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from celery import Celery
from celery.result import AsyncResult
from pymongo import UpdateOne
from pymongo.collection import Collection

from benchmarks.clients import seconds
from ipam.embedded.parts import Part
from tests.servers import Process, wait_until

BROKER_VARIABLE = "IPAM_BENCH_EMPTY_BROKER"
_TIMEOUT_S = 120


def _app(broker: str) -> Celery:
    """As ipam sets Celery up, but for a place where results go."""
    return Celery("empty", broker=broker, backend=broker if broker.startswith("redis") else "rpc://")


empty = _app(os.environ.get(BROKER_VARIABLE, ""))
empty.conf.update(task_acks_late=True, worker_prefetch_multiplier=4, worker_send_task_events=True)


@empty.task(name="empty.nothing")
def nothing() -> None:
    """Do nothing."""


class EmptyCelery:
    """A worker with as many processes as ipam's, on the same broker, whose tasks do nothing."""

    def __init__(self, broker: str, folder: Path, processes: int) -> None:
        self._app = _app(broker)
        command = [sys.executable, "-m", "celery", "-A", "benchmarks.limits:empty", "worker"]
        command += ["--concurrency", str(processes), "--without-mingle", "--without-gossip"]
        part = Part("empty", command, None, {BROKER_VARIABLE: broker})
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
