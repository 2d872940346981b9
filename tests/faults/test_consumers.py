"""Consumers that are killed again and again, and what they need too: each event has its effect once, in order."""

import asyncio
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Self

import nats
import pytest
from kombu import Connection
from nats.js.errors import NotFoundError
from redis import Redis

from ipam.embedded.processes import mongo_uri
from tests.faults.test_kill import IN_THE_GATE, ROUNDS
from tests.support import servers
from tests.support.example_consumers import BUSES, TIMEOUT_S, consumer, entered
from tests.support.seed import SEED
from tests.support.servers import Process, wait_until
from tests.support.stack import Stack

KINDS = ["redis"] if IN_THE_GATE else ["http", "redis", "rabbitmq", "jetstream"]
KILLS = 3 if IN_THE_GATE else ROUNDS


class Site:
    """A stack with a bus of its own, and the consumer that listens there; with `http` that asks the API."""

    def __init__(self, kind: str, folder: Path) -> None:
        for name in ("bus", "others"):
            (folder / name).mkdir()
        self.kind = kind
        self.folder = folder
        self.bus, self.url, example = BUSES["redis" if kind == "http" else kind](folder / "bus")
        self._others = [servers.database(folder / "others"), servers.redis(folder / "others")]
        database, broker = (one.part.port for one in self._others)
        self.stack = Stack(mongo_uri(database), f"redis://127.0.0.1:{broker}/0", folder, workers=1, bus=self.url)
        self.example = "by_http.py" if kind == "http" else example

    def __enter__(self) -> Self:
        running: list[Process | Stack] = [*self._others, self.bus, self.stack]
        for one in running:
            one.start()
        return self

    def __exit__(self, *_: object) -> None:
        for one in (self.stack, self.bus, *self._others):
            one.stop()

    def consumer(self):
        urls = [self.stack.api.url] if self.kind == "http" else [self.url, self.stack.api.url]
        return consumer(self.example, self.folder, *urls)

    def lose(self) -> None:
        """Have the bus forget what it keeps for the consumer."""
        match self.kind:
            case "redis":
                with Redis.from_url(self.url) as redis:
                    redis.flushall()
            case "rabbitmq":
                with Connection(self.url) as connection:
                    connection.default_channel.queue_delete("history")
            case "jetstream":
                asyncio.run(_remove_stream(self.url))


async def _remove_stream(url: str) -> None:
    client = await nats.connect(url)
    with suppress(NotFoundError):  # It was removed before, and nothing happened since.
        await client.jetstream().delete_stream("ipam-events")
    await client.close()


@contextmanager
def changes(stack: Stack) -> Iterator[Callable[[], int]]:
    """Make pools, one after the other; what is returned says how many."""
    stopped, made = threading.Event(), []

    def make() -> None:
        while not stopped.is_set():
            with suppress(OSError):  # The web process is being started again.
                answer = stack.api.post("/pools", {"name": "of a consumer"}, timeout=10)
                made.append(answer.status_code)

    thread = threading.Thread(target=make)
    thread.start()
    try:
        yield lambda: len(made)
    finally:
        stopped.set()
        thread.join()


@pytest.mark.timeout(300)
@pytest.mark.parametrize("kind", KINDS)
def test_a_consumer_that_is_killed_at_any_moment_enters_each_event_once_and_in_order(kind: str, tmp_path: Path):
    chance = random.Random(f"{kind} {SEED}")
    with Site(kind, tmp_path) as site:
        stack = site.stack
        deeds = {
            "the consumer alone": lambda: None,
            "the bus": site.bus.kill,
            "the web process": stack.web.kill,
            "the relay": stack.relay.kill,
            "what the bus keeps": site.lose,
        }
        done = [chance.choice(list(deeds)) for _ in range(KILLS)]
        for deed in done:
            with site.consumer(), changes(stack) as count:
                before, wanted = count(), chance.randint(1, 40)
                wait_until(lambda: count() >= before + wanted, TIMEOUT_S, "changes")  # noqa: B023 (called here)
                deeds[deed]()
                time.sleep(chance.uniform(0, 0.3))
            for part in (site.bus, stack.web, stack.relay):
                if not part.is_alive():
                    part.start()
        with site.consumer():
            last = stack.api.pool()["id"]
            wait_until(
                lambda: entered(tmp_path)[-1:] and entered(tmp_path)[-1][2] == f"/pools/{last}",
                TIMEOUT_S,
                "the last event to be entered",
            )
        log = [(int(one["sequence"]), one["type"], one["subject"]) for one in stack.api.pages("/events", "events")]
    assert entered(tmp_path) == log
    print(f"{kind}, seed {SEED}: {len(log)} events entered once, in order; killed {KILLS} times, with {done}")
