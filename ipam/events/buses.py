"""The message buses that events go out on."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from amqp.exceptions import MessageNacked
from kombu import Connection, Exchange, Producer
from nats.aio.client import Client
from nats.errors import Error as NatsError
from nats.js.api import StreamConfig
from nats.js.errors import NotFoundError, ServiceUnavailableError

from ipam.errors import Transient
from ipam.util.nats_connection import connect_once, is_nats
from ipam.util.urls import without_password

EXCHANGE = "ipam.events"
CONTENT_TYPE = "application/cloudevents+json"
_TIMEOUT_S = 5.0
# How long JetStream keeps an event, in a stream of our making: a consumer that was away for longer reads the log.
_KEEP_S = 7 * 24 * 3600
_PERSISTENT = 2
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Message:
    """An event on its way.

    Attributes:
        id: The event's.
        type: What consumers choose by: routing key or subject.
        body: The CloudEvent as JSON.
    """

    id: str
    type: str
    body: bytes


class Bus(Protocol):
    """Takes messages in order."""

    @property
    def max_bytes(self) -> int:
        """The longest body that the bus takes, in bytes."""

    def publish(self, message: Message) -> None:
        """Return when the bus has *message*.

        Raises:
            Transient: If it does not say so; it may have it all the same.
        """

    def close(self) -> None:
        """End the connection."""


def open_bus(url: str) -> Bus:
    """Return the bus at *url*; nothing is connected yet."""
    return NatsBus(url) if is_nats(url) else KombuBus(url)


class FailoverBus:
    """A bus whose endpoint may change, or is not known yet.

    Args:
        source: What says where it is, for people.
    """

    def __init__(self, source: str) -> None:
        self._source = source
        self._url: str | None = None
        self._bus: Bus | None = None
        self._opened: str | None = None

    def move(self, url: str) -> None:
        """Use the bus at *url* from the next message on; any thread may say so."""
        self._url = url

    @property
    def max_bytes(self) -> int:
        """The longest body that the bus takes, in bytes.

        Raises:
            Transient: If it is not known yet where the bus is.
        """
        return self._current().max_bytes

    def publish(self, message: Message) -> None:
        """Implement `Bus`."""
        self._current().publish(message)

    def close(self) -> None:
        """Implement `Bus`."""
        if self._bus is not None:
            self._bus.close()

    def _current(self) -> Bus:
        url = self._url
        if url is None:
            raise Transient(f"It is not known yet where the bus is: {self._source}.")
        if self._bus is None or self._opened != url:
            self.close()
            self._bus, self._opened = open_bus(url), url
        return self._bus


class KombuBus:
    """RabbitMQ or Redis: the topic exchange `ipam.events`, the routing key being the type of the event.

    RabbitMQ confirms each message when it has it. On Redis, kombu puts it into the list of each bound queue.
    """

    # RabbitMQ 4 takes no more; far more than any event has.
    max_bytes = 16 * 1024 * 1024

    def __init__(self, url: str) -> None:
        self._shown = without_password(url)
        options: dict[str, Any] = {"socket_connect_timeout": _TIMEOUT_S, "socket_timeout": _TIMEOUT_S}
        self._confirming: dict[str, Any] = {}
        if url.startswith("amqp"):
            options = {"confirm_publish": True}
            self._confirming = {"confirm_timeout": _TIMEOUT_S}
        self._template = Connection(url, connect_timeout=_TIMEOUT_S, transport_options=options)
        self._connection: Connection | None = None
        self._producer: Producer | None = None
        self._errors: tuple[type[BaseException], ...] = (
            *self._template.connection_errors,
            *self._template.channel_errors,
            MessageNacked,
        )

    def publish(self, message: Message) -> None:
        """Implement `Bus`."""
        try:
            producer = self._producer or self._open()
            producer.publish(
                message.body,
                routing_key=message.type,
                content_type=CONTENT_TYPE,
                content_encoding="utf-8",
                delivery_mode=_PERSISTENT,
                message_id=message.id,
                **self._confirming,
            )
        except self._errors as error:
            self.close()
            raise Transient(f"The bus at {self._shown} took no event ({type(error).__name__}).") from error

    def close(self) -> None:
        """Implement `Bus`."""
        self._producer = None
        if self._connection is not None:
            self._connection.close()

    def _open(self) -> Producer:
        self._connection = self._template.clone()  # One that was closed cannot be opened again.
        exchange = Exchange(EXCHANGE, type="topic", durable=True)
        self._producer = Producer(self._connection.channel(), exchange, auto_declare=True)
        return self._producer


class NatsBus:
    """NATS: the subject is the type of the event. Where the server has JetStream, a stream keeps the events."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._shown = without_password(url)
        self._client: Client | None = None
        self._has_streams = False
        self._max_bytes = 1024 * 1024  # As servers come; what this one takes, it says when it is connected.
        # The client answers the server's pings on its own: it needs a loop that goes on between events.
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="nats", daemon=True)
        self._thread.start()

    @property
    def max_bytes(self) -> int:
        """The longest body that the server takes, in bytes."""
        return self._max_bytes

    def publish(self, message: Message) -> None:
        """Implement `Bus`."""
        try:
            self._wait(self._publish(message))
        except (NatsError, OSError, TimeoutError) as error:
            self._disconnect()
            raise Transient(f"The bus at {self._shown} took no event ({type(error).__name__}).") from error

    def close(self) -> None:
        """Implement `Bus`."""
        self._disconnect()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _publish(self, message: Message) -> None:
        client = self._client or await self._connect()
        if self._has_streams:
            # The server leaves out what has the id of an earlier one, if that is not long ago.
            headers = {"Nats-Msg-Id": message.id, "Content-Type": CONTENT_TYPE}
            await client.jetstream().publish(message.type, message.body, timeout=_TIMEOUT_S, headers=headers)
        else:
            await client.publish(message.type, message.body, headers={"Content-Type": CONTENT_TYPE})
            await client.flush(int(_TIMEOUT_S))

    async def _connect(self) -> Client:
        client = await connect_once(self._url, _TIMEOUT_S)
        self._client = client
        self._max_bytes = client.max_payload  # Kept when the connection is lost: it was lost by that, perhaps.
        self._has_streams = await _has_stream(client)
        return client

    def _disconnect(self) -> None:
        if self._client is not None:
            client, self._client = self._client, None
            with suppress(NatsError, OSError, TimeoutError):
                self._wait(client.close())

    def _wait(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(asyncio.wait_for(work, 2 * _TIMEOUT_S), self._loop).result()


async def _has_stream(client: Client) -> bool:
    """Return whether the server keeps events; if it could and does not yet, it does so from now on."""
    streams = client.jetstream(timeout=_TIMEOUT_S)
    try:
        await streams.account_info()
    except ServiceUnavailableError:  # It has none: plain NATS only reaches current subscribers.
        return False
    try:
        await streams.find_stream_name_by_subject("ipam.>")
    except NotFoundError:
        await streams.add_stream(StreamConfig(name="ipam-events", subjects=["ipam.>"], max_age=_KEEP_S))
    return True
