"""Reserve and release while the bus is stopped and started and the relay is killed: who listens hears everything.

On RabbitMQ, NATS (JetStream) and Redis, one after the other, with the consumers in `examples/`. The exit code is 1
if one of them missed something, or the log has anything twice or not at all.
"""

from __future__ import annotations

import random
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import click

from ipam.embedded.processes import mongo_uri
from tests.support import servers
from tests.support.example_consumers import BUSES, consumer, silent_log
from tests.support.invariants import assert_log_is_true
from tests.support.servers import Process, wait_until
from tests.support.stack import Stack, all_at_once

BUSES_THAT_KEEP = ("rabbitmq", "jetstream", "redis")
# On these the consumer has a queue, so that it hears everything by the bus alone.
WITH_A_QUEUE = ("rabbitmq", "redis")


@click.command()
@click.option("--seed", default=1, show_default=True, help="When things are stopped.")
@click.option(
    "--requests", default=1000, show_default=True, help="Reservations on each bus; every second is released."
)
@click.option("--bus", "buses", type=click.Choice(BUSES_THAT_KEEP), multiple=True, help="Only this one.")
def main(seed: int, requests: int, buses: tuple[str, ...]) -> None:
    """Run it, and say how it went."""
    for name in buses or BUSES_THAT_KEEP:
        began = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            said = _run(name, random.Random(f"{name} {seed}"), requests, Path(folder))
        click.echo(f"{name}, seed {seed}: {said}, in {time.monotonic() - began:.0f} s")


def _run(name: str, chance: random.Random, requests: int, folder: Path) -> str:
    for part in ("bus", "others"):
        (folder / part).mkdir()
    database, broker = servers.database(folder / "others"), servers.redis(folder / "others")
    bus, url, program = BUSES[name](folder / "bus")
    stack = Stack(
        mongo_uri(database.part.port), f"redis://127.0.0.1:{broker.part.port}/0", folder, workers=1, bus=url
    )
    running: list[Process | Stack] = [database, broker, bus, stack]
    try:
        for one in running:
            one.start()
        with (
            silent_log() as silent,
            consumer(program, folder, url, silent if name in WITH_A_QUEUE else stack.api.url) as heard,
        ):
            while not heard.lines():  # The bus is told of what happens after a relay has first looked at it.
                stack.api.pool()
                time.sleep(0.5)
            subnet = stack.api.subnet(cidr="10.0.0.0/20")
            done = _trouble(bus, stack.relay, chance)
            all_at_once(8, lambda n: _reserve(stack, subnet["id"], is_released=n % 2 == 0), range(requests))
            killed = done()
            events = assert_log_is_true(stack.api)
            types = Counter(event["type"] for event in events)
            assert types["ipam.reservation.created"] == requests, types
            assert types["ipam.reservation.deleted"] == -(-requests // 2), types
            told = [f"{event['sequence']} {event['type']} {event['subject']}" for event in events]
            wanted = told[told.index(heard.lines()[0]) :]
            wait_until(lambda: heard.lines()[-1] == told[-1], 60, f"all of {len(wanted)} events to be heard")
            assert heard.lines() == wanted, f"missed: {sorted(set(wanted) - set(heard.lines()))}"
    finally:
        for one in reversed(running):
            one.stop()
    return f"{len(wanted)} events, each once in the log and heard in order, though {', '.join(killed)}"


def _reserve(stack: Stack, subnet: str, *, is_released: bool) -> None:
    answer = stack.api.post(f"/subnets/{subnet}/reservations", {}, headers={"Prefer": "wait=60"})
    assert answer.status_code == 201, answer.text
    if is_released:
        assert stack.api.delete(answer.headers["Location"]).status_code == 204


def _trouble(bus: Process, relay: Process, chance: random.Random) -> Callable[[], list[str]]:
    """Stop and start the bus twice, and kill the relay twice, in whatever order; call the result to wait for it."""
    said: list[str] = []

    def stop_bus() -> None:
        bus.stop()
        time.sleep(chance.uniform(1, 4))
        bus.start()
        said.append("the bus was stopped and started")

    def kill_relay() -> None:
        relay.kill()
        time.sleep(chance.uniform(0, 2))
        relay.start()
        said.append("the relay was killed")

    deeds = [stop_bus, stop_bus, kill_relay, kill_relay]
    chance.shuffle(deeds)

    def make() -> None:
        for deed in deeds:
            time.sleep(chance.uniform(0.5, 2))
            deed()

    thread = threading.Thread(target=make)
    thread.start()

    def wait() -> list[str]:
        thread.join()
        return said

    return wait


if __name__ == "__main__":
    main()
