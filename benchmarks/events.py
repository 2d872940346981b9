"""What events cost, and how soon a bus hears of them: ratios within one run, on servers of its own.

Reservations a second with the bus up and with it down, turn about; and the time from a change to its event at a
consumer on RabbitMQ.
"""

from __future__ import annotations

import json
import statistics
import tempfile
import threading
import time
from datetime import datetime
from pathlib import Path

import click
from kombu import Connection, Exchange, Queue

from ipam.embedded.processes import mongo_uri
from tests.support import servers
from tests.support.stack import Stack, all_at_once

CLIENTS = 8


@click.command()
@click.option("--rounds", default=5, show_default=True, help="Turns of each kind.")
@click.option("--requests", default=300, show_default=True, help="Reservations in a turn.")
def main(rounds: int, requests: int) -> None:
    """Measure, and print what came of it."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        database, broker = servers.database(folder), servers.redis(folder)
        bus = servers.rabbitmq(folder)
        running = [database, broker, bus]
        for one in running:
            one.start()
        url = f"redis://127.0.0.1:{broker.part.port}/0"
        stack = Stack(mongo_uri(database.part.port), url, folder, bus=bus.url)
        stack.start()
        try:
            delays = _delays(stack, bus.url, requests)
            click.echo(f"from a change to its event on the bus: {_spread([1000 * one for one in delays])} ms")
            speeds: dict[str, list[float]] = {"up": [], "down": []}
            for _ in range(rounds):
                speeds["up"].append(_speed(stack, requests))
                bus.stop()
                speeds["down"].append(_speed(stack, requests))
                bus.start()
        finally:
            for one in (stack, *reversed(running)):
                one.stop()
    for state, found in speeds.items():
        click.echo(f"reservations a second, {CLIENTS} clients, bus {state}: {_spread(found)}")
    ratio = statistics.median(speeds["down"]) / statistics.median(speeds["up"])
    click.echo(f"bus down to bus up: {ratio:.2f}")


def _speed(stack: Stack, requests: int) -> float:
    subnet = stack.api.subnet(cidr="10.0.0.0/20")
    began = time.monotonic()
    all_at_once(CLIENTS, lambda _: stack.api.reserve(subnet), range(requests))
    return requests / (time.monotonic() - began)


def _delays(stack: Stack, url: str, requests: int) -> list[float]:
    """Seconds from the time of each change to when a consumer has its event, one change after the other."""
    delays: list[float] = []
    ended = threading.Event()

    def on_message(message: object) -> None:
        now = time.time()
        event = json.loads(message.body)
        if event["type"] == "ipam.pool.updated":
            delays.append(now - _seconds(event["time"]))
        message.ack()

    def listen() -> None:
        exchange = Exchange("ipam.events", type="topic", durable=True)
        queue = Queue("benchmark", exchange, routing_key="ipam.#", durable=False, auto_delete=True)
        with Connection(url) as connection, connection.Consumer([queue], on_message=on_message):
            ready.set()
            while not ended.is_set():
                try:
                    connection.drain_events(timeout=0.2)
                except TimeoutError:
                    continue

    ready = threading.Event()
    listener = threading.Thread(target=listen)
    listener.start()
    ready.wait(30)
    pool = stack.api.pool()
    for n in range(requests):
        stack.api.patch(f"/pools/{pool['id']}", {"name": str(n)})
        time.sleep(0.02)
    deadline = time.monotonic() + 30
    while len(delays) < requests and time.monotonic() < deadline:
        time.sleep(0.1)
    ended.set()
    listener.join()
    return delays


def _seconds(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def _spread(values: list[float]) -> str:
    low, *_, high = sorted(values)
    return f"median {statistics.median(values):.1f} ({low:.1f} to {high:.1f}, {len(values)})"


if __name__ == "__main__":
    main()
