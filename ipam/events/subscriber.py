"""Hearing what a bus is told."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress

from kombu import Connection, Exchange, Queue
from nats.errors import Error as NatsError
from nats.errors import TimeoutError as NatsTimeout

from ipam.errors import Transient
from ipam.events.buses import EXCHANGE
from ipam.util.nats_connection import connect_once, is_nats
from ipam.util.urls import without_password

_TIMEOUT_S = 5
_LOOKS_UP_AFTER_S = 1.0
Hear = Callable[[bytes], None]


def listen(url: str, type_: str | None, hear: Hear, stopped: threading.Event) -> None:
    """Call *hear* with the body of each event that the bus at *url* is told from now on, until *stopped* is set.

    That is looked at once a second, and not in the middle of a message: so the bus can still be told that nobody
    listens.

    *type_* is that of the events that are wanted, `ipam.subnet.*` standing for all that begin so; None for all.

    Raises:
        Transient: When the bus does not answer, or not any more; what it is told meanwhile is not heard.
    """
    try:
        if is_nats(url):
            asyncio.run(_listen_to_nats(url, type_ or "ipam.>", hear, stopped))
        else:
            _listen_by_kombu(url, type_ or "ipam.#", hear, stopped)
    except (NatsError, OSError) as error:
        raise _away(url, error) from error


def _listen_by_kombu(url: str, pattern: str, hear: Hear, stopped: threading.Event) -> None:
    exchange = Exchange(EXCHANGE, type="topic", durable=True)
    queue = Queue("", exchange, routing_key=pattern, exclusive=True, auto_delete=True)
    with Connection(url, connect_timeout=_TIMEOUT_S) as connection:
        try:
            with connection.Consumer([queue], on_message=lambda message: hear(message.body), no_ack=True):
                while not stopped.is_set():
                    with suppress(TimeoutError):
                        connection.drain_events(timeout=_LOOKS_UP_AFTER_S)
        except (*connection.connection_errors, *connection.channel_errors) as error:
            raise _away(url, error) from error


async def _listen_to_nats(url: str, pattern: str, hear: Hear, stopped: threading.Event) -> None:
    client = await connect_once(url, _TIMEOUT_S)
    heard = await client.subscribe(pattern)
    while not stopped.is_set():
        with suppress(NatsTimeout):
            message = await heard.next_msg(timeout=_LOOKS_UP_AFTER_S)
            hear(message.data)
        if client.is_closed:
            raise ConnectionResetError
    await client.close()


def _away(url: str, error: BaseException) -> Transient:
    return Transient(f"The bus at {without_password(url)} does not answer ({type(error).__name__}).")
