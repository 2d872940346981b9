"""The rights on NATS and RabbitMQ in docs/hooks.md: enough for ipam, consumers and listeners, and no more."""

import asyncio
import re
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import nats
import pytest
from amqp.exceptions import AccessRefused
from kombu import Connection, Queue

from ipam.events.buses import open_bus
from ipam.hooks.client import BusHookClient
from tests.integration.test_buses import HOOK, TIMEOUT_S, answering, ask, echo, message
from tests.support import servers

PAGE = (Path(__file__).parents[2] / "docs/hooks.md").read_text()
INVENTORY = replace(HOOK, name="inventory", subject="ipam-hooks.inventory")
PASSWORD = "secret"  # noqa: S105 (of servers that live for one test)


def what_may_be_done(ipam: str, inventory: str) -> None:
    """Have a question answered, and an event published."""
    client, bus = BusHookClient(ipam), open_bus(ipam)
    with answering(inventory, INVENTORY, echo):
        assert ask(client, INVENTORY, "a") == [{"heard": "a"}]
    bus.publish(message(1))
    client.close()
    bus.close()


def test_on_nats_nobody_else_hears_questions_or_answers_them(tmp_path: Path):
    (configuration,) = re.findall(r"```\n(authorization.*?)```", PAGE, re.DOTALL)
    server = servers.nats(tmp_path, keeps=True, configuration=re.sub(r"\$[A-Z]+_PASSWORD", PASSWORD, configuration))
    server.start()
    ipam, inventory, listener = (
        f"nats://{user}:{PASSWORD}@127.0.0.1:{server.part.port}" for user in ("ipam", "inventory", "listener")
    )
    try:
        what_may_be_done(ipam, inventory)
        asyncio.run(refused(inventory, "ipam.>", "ipam-hooks.inventory", "ipam-hooks.other", "_INBOX.>"))
        asyncio.run(refused(listener, "ipam-hooks.inventory", "_INBOX.>", "$JS.API.>"))
        asyncio.run(refused(listener, "ipam.>", may_hear=True))
    finally:
        server.stop()


async def refused(url: str, *subjects: str, may_hear: bool = False) -> None:
    """Expect that the server refuses to publish to each of *subjects*, and, unless it *may_hear*, to subscribe."""
    refusals: asyncio.Queue[str] = asyncio.Queue()

    async def note(error: Exception) -> None:
        refusals.put_nowait(str(error))

    client = await nats.connect(url, error_cb=note)
    for subject in subjects:
        subscription = await client.subscribe(subject)
        await client.publish(subject.replace(">", "x"), b"{}")
        expected = {"publish"} if may_hear else {"publish", "subscription"}
        told = [await asyncio.wait_for(refusals.get(), TIMEOUT_S) for _ in expected]
        assert {one.split(" to ")[0].rpartition(" ")[2] for one in told} == expected, told
        await subscription.unsubscribe()
    await client.flush()
    assert refusals.empty()
    await client.close()


@pytest.mark.long
def test_on_rabbitmq_nobody_else_hears_questions_or_answers_them(tmp_path: Path):
    (script,) = re.findall(r"```sh\n(rabbitmqctl.*?)```", PAGE, re.DOTALL)
    server = servers.rabbitmq(tmp_path)
    server.start()
    try:
        server.administer(script, IPAM_PASSWORD=PASSWORD, INVENTORY_PASSWORD=PASSWORD)
        port = urlsplit(server.url).port
        ipam, inventory = (f"amqp://{user}:{PASSWORD}@127.0.0.1:{port}/bus" for user in ("ipam-bus", "inventory"))
        what_may_be_done(ipam, inventory)
        for url, name in (
            (inventory, "ipam-hooks.other"),
            (inventory, "amq.gen-x"),
            (ipam, "ipam-hooks.inventory"),
        ):
            with Connection(url) as connection, pytest.raises(AccessRefused):
                Queue(name, channel=connection.default_channel, auto_delete=True).declare()
        with Connection(inventory) as connection, pytest.raises(AccessRefused):
            connection.default_channel.exchange_declare("ipam.events", "topic", durable=True, auto_delete=False)
    finally:
        server.stop()
