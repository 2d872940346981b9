"""Events on real buses, heard by the consumers in `examples/`."""

import asyncio
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import nats
import pytest
from kombu import Connection
from nats.js.errors import ServiceUnavailableError
from redis import Redis

from ipam.errors import Transient
from ipam.events.buses import Bus, Message, open_bus
from ipam.hooks.client import BusHookClient
from ipam.hooks.config import Hook, Silence
from ipam.hooks.consumer import Consumer, Function
from tests.support import servers
from tests.support.example_consumers import BUSES, TIMEOUT_S, Made, consumer, silent_log, tail
from tests.support.servers import wait_until
from tests.support.stack import Stack

HOOK = Hook(name="x", changes=frozenset(), subject="ipam-hooks.x", timeout_s=TIMEOUT_S, silence_allows=False)


def message(sequence: int, type_: str = "ipam.pool.created") -> Message:
    event = {
        "sequence": f"{sequence:020}",
        "type": type_,
        "subject": f"/pools/{sequence}",
        "time": "2026-11-30T06:00:00Z",
    }
    return Message(f"pool-{sequence}-1", type_, json.dumps(event).encode())


def line(sequence: int) -> str:
    return f"{sequence:020} ipam.pool.created /pools/{sequence}"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Made]]:
    """A server of each kind, started when it is asked for first."""
    started: dict[str, Made] = {}

    def of_kind(kind: str) -> Made:
        if kind not in started:
            started[kind] = BUSES[kind](tmp_path_factory.mktemp(kind))
            started[kind][0].start()
        return started[kind]

    yield of_kind
    for server, _, _ in started.values():
        server.stop()


@pytest.fixture
def made(request: pytest.FixtureRequest, running: Callable[[str], Made]) -> Made:
    """A server on which nobody has listened yet, its URL, and the consumer for it."""
    server, url, program = running(request.param)
    match request.param:
        case "rabbitmq":
            with Connection(url) as connection:
                connection.default_channel.queue_delete("history")
        case "redis":
            with Redis.from_url(url) as redis:
                redis.flushall()
        case "jetstream":
            asyncio.run(_forget_streams(url))
    return server, url, program


async def _forget_streams(url: str) -> None:
    client = await nats.connect(url)
    for stream in await client.jetstream().streams_info():
        await client.jetstream().delete_stream(stream.config.name)
    await client.close()


@pytest.fixture
def bus(made: Made) -> Iterator[Bus]:
    opened = open_bus(made[1])
    yield opened
    opened.close()


def ask(client: BusHookClient, hook: Hook, *questions: str) -> list:
    """What is answered, as JSON; why not, where there is no answer."""
    answers = client.ask(hook, [json.dumps(question).encode() for question in questions])
    return [one.reason if isinstance(one, Silence) else json.loads(one) for one in answers]


@contextmanager
def answering(url: str, hook: Hook, function: Function, secret_file: Path | None = None) -> Iterator[None]:
    """A consumer that is asked, in a thread of this process."""
    stopped, ready = threading.Event(), threading.Event()
    consumer = Consumer(url, hook.subject, function, 4, secret_file)
    thread = threading.Thread(target=consumer.serve, args=(stopped, ready.set))
    thread.start()
    try:
        assert ready.wait(TIMEOUT_S)
        yield
    finally:
        stopped.set()
        thread.join()


def echo(question: Any) -> dict | None:
    if question == "wait":
        time.sleep(1)
    return {"heard": question} if question else None


async def keep_questions(url: str) -> None:
    """Have JetStream keep what is asked below `kept.`, of which it sends a receipt to whoever asks."""
    client = await nats.connect(url)
    with suppress(ServiceUnavailableError):
        await client.jetstream().add_stream(name="questions", subjects=["kept.>"])
    await client.close()


def ask_and_be_answered(client: BusHookClient, url: str) -> None:
    if url.startswith("nats"):
        asyncio.run(keep_questions(url))
    for hook in (HOOK, replace(HOOK, subject="kept.x")):
        with answering(url, hook, echo), answering(url, hook, echo):
            assert ask(client, hook, "a", "", "b") == [{"heard": "a"}, {"allow": True}, {"heard": "b"}]
            hurried = replace(hook, timeout_s=0.5)
            assert ask(client, hurried, "wait", "c") == ["no answer within 0.5 s", {"heard": "c"}]
        assert ask(client, HOOK, "a") == ["no consumer is there"]


def ask_with_a_secret(client: BusHookClient, url: str, folder: Path) -> None:
    right, wrong = folder / "right", folder / "wrong"
    right.write_text("0123456789abcdef\n")
    wrong.write_text("fedcba9876543210\n")
    signed = replace(HOOK, secret_file=right)
    with answering(url, HOOK, echo, right):
        assert ask(client, signed, "a", "") == [{"heard": "a"}, {"allow": True}]
        # The function does not hear what the secret has not signed.
        assert ask(client, HOOK, "a") == [{"error": "UnsignedQuestion"}]
    hurried = replace(signed, timeout_s=0.5)
    for secret_file in (None, wrong):
        with answering(url, HOOK, echo, secret_file):
            assert ask(client, hurried, "a") == ["no answer within 0.5 s, but one that the secret has not signed"]


@pytest.mark.parametrize(
    "made",
    [pytest.param(bus, marks=pytest.mark.long) if bus in ("rabbitmq", "jetstream") else bus for bus in BUSES],
    indirect=True,
)
def test_a_bus_takes_events_in_order_and_again_after_it_was_away(made: Made, bus: Bus, tmp_path: Path):
    """And questions, but for Redis."""
    server, url, program = made
    client = None if url.startswith("redis") else BusHookClient(url)
    with silent_log() as log, consumer(program, tmp_path, url, log) as heard:
        for sequence in range(1, 11):
            bus.publish(message(sequence))
        assert heard.wait_for(line(10)) == [line(sequence) for sequence in range(1, 11)]
    if client is not None:
        ask_and_be_answered(client, url)
        ask_with_a_secret(client, url, tmp_path)
    server.stop()
    with pytest.raises(Transient, match="took no event"):
        bus.publish(message(11))
    if client is not None:
        assert "is out of reach" in ask(client, HOOK, "a")[0]
    server.start()
    with silent_log() as log, consumer(program, tmp_path, url, log) as heard:
        wait_until(lambda: _is_taken(bus, message(11)), TIMEOUT_S, "the bus to take events again")
        bus.publish(message(12))
        assert heard.wait_for(line(12)) == [line(11), line(12)]
    if client is not None:
        with answering(url, HOOK, echo):
            assert ask(client, HOOK, "a") == [{"heard": "a"}]
        client.close()


@pytest.mark.parametrize("made", ["jetstream"], indirect=True)
def test_jetstream_keeps_events_in_a_stream_which_the_relay_makes_again_if_it_is_removed(made: Made, bus: Bus):
    _, url, _ = made
    for sequence in (1, 2):
        bus.publish(message(sequence))
    assert asyncio.run(_kept(url)) == [message(1).body, message(2).body]
    asyncio.run(_forget_streams(url))
    wait_until(lambda: _is_taken(bus, message(3)), TIMEOUT_S, "another stream")
    assert asyncio.run(_kept(url)) == [message(3).body]


async def _kept(url: str) -> list[bytes]:
    client = await nats.connect(url)
    streams = client.jetstream()
    last = (await streams.stream_info("ipam-events")).state.last_seq
    kept = [(await streams.get_msg("ipam-events", number)).data for number in range(1, last + 1)]
    await client.close()
    return kept


@pytest.mark.parametrize("made", ["nats", "rabbitmq", "redis"], indirect=True)
def test_a_bus_is_followed_on_a_terminal(made: Made, bus: Bus, tmp_path: Path):
    """Only those of one type, whole, from when it listens on."""
    _, url, _ = made
    with tail(tmp_path, "--bus", url, "--type", "ipam.pool.*", "--json") as printed:
        sequence = 0

        def is_heard() -> bool:
            nonlocal sequence
            sequence += 1
            bus.publish(message(sequence, "ipam.subnet.created"))
            bus.publish(Message(f"no-event-{sequence}", "ipam.pool.created", b'{"\x1b[2J": 1}'))
            bus.publish(message(sequence))
            return len(printed()) > 1

        wait_until(is_heard, TIMEOUT_S, "events on the terminal")
        heard = [json.loads(text) for text in printed()]
    assert {one["type"] for one in heard} == {"ipam.pool.created"}
    assert [int(one["sequence"]) for one in heard][:2] == [int(heard[0]["sequence"]), int(heard[0]["sequence"]) + 1]


def test_how_much_a_server_takes_is_known_after_it_has_refused_more(tmp_path: Path):
    server = servers.nats(tmp_path, keeps=False, most_bytes=2048)
    server.start()
    bus = open_bus(f"nats://127.0.0.1:{server.part.port}")
    with pytest.raises(Transient):
        bus.publish(Message("1", "ipam.pool.created", b"x" * 4000))
    assert bus.max_bytes == 2048
    bus.publish(Message("1", "ipam.pool.created", b"x" * 2000))
    bus.close()
    server.stop()


def _is_taken(bus: Bus, one: Message) -> bool:
    try:
        bus.publish(one)
    except Transient:
        return False
    return True


@pytest.mark.parametrize("made", ["rabbitmq", "redis"], indirect=True)
def test_a_queue_keeps_what_its_consumer_has_missed(made: Made, bus: Bus, tmp_path: Path):
    _, url, program = made
    with silent_log() as log:
        with consumer(program, tmp_path, url, log) as heard:
            bus.publish(message(1))
            assert heard.wait_for(line(1)) == [line(1)]
        bus.publish(message(2))
        with consumer(program, tmp_path, url, log) as heard:
            bus.publish(message(3))
            assert heard.wait_for(line(3)) == [line(2), line(3)]


@pytest.mark.parametrize("url", ["amqp://127.0.0.1:1//", "redis://127.0.0.1:1/0", "nats://:secret@127.0.0.1:1"])
def test_a_bus_that_is_not_there_is_said_without_its_password(url: str):
    bus = open_bus(url)
    with pytest.raises(Transient) as error:
        bus.publish(message(1))
    bus.close()
    assert "127.0.0.1:1" in error.value.detail
    assert "secret" not in error.value.detail


def test_bus_has_every_event_as_the_log_has_it(stack: Stack, tmp_path: Path):
    """A reservation with all that becomes of it, by the relay of a whole stack."""
    api = stack.api
    with silent_log() as log, consumer("by_kombu.py", tmp_path, stack.environment["IPAM_BROKER"], log) as heard:
        subnet = api.subnet(cidr="10.0.0.0/28")
        reservation = api.reserve(subnet, count=2)
        api.delete(f"/leases/{reservation['leases'][0]['id']}")
        api.delete(f"/reservations/{reservation['id']}")
        path = f"/events?subject=/subnets/{subnet['id']}"
        assert api.get(f"{path}&type=ipam.reservation.deleted&wait=30").json()["events"]
        told = [f"{one['sequence']} {one['type']} {one['subject']}" for one in api.pages(path, "events")]
        assert len(told) == 5
        wait_until(lambda: set(told) <= set(heard.lines()), TIMEOUT_S, "the bus to have all events")
        assert [one for one in heard.lines() if one in told] == told
