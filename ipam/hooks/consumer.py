"""Answering what ipam asks before a change, by a Python function."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from amqp.exceptions import PreconditionFailed
from kombu import Connection, Message, Producer, Queue
from nats.aio.msg import Msg
from nats.errors import Error as NatsError

from ipam.errors import InvalidSettings, Transient
from ipam.hooks.rabbitmq import body_of
from ipam.hooks.session import CONNECT_TIMEOUT_S
from ipam.hooks.signing import ID_HEADER, Headers, Secret
from ipam.util.lossless_json import dumps, loads
from ipam.util.nats_connection import connect_once, is_nats
from ipam.util.urls import without_password

log = logging.getLogger(__name__)
_LOOKS_UP_AFTER_S = 1.0
# What a consumer makes of a question: an answer as it goes over the bus, or None, which allows.
Function = Callable[[dict[str, Any]], dict[str, Any] | None]


def answer_with(function: Function, question: bytes) -> bytes:
    """Return what *function* makes of *question*, as it goes over the bus.

    A fault of *function* becomes an answer that cannot be used: so ipam need not wait until its time is over.
    """
    try:
        return dumps(function(loads(question)) or {"allow": True}).encode()
    except Exception as error:
        log.exception("the hook failed over %s", question.decode(errors="replace")[:1000])
        return _failed(type(error).__name__)


def _failed(error: str) -> bytes:
    """Return the answer that says that there is none, and why."""
    return dumps({"error": error}).encode()


@dataclass(frozen=True, slots=True)
class Consumer:
    """Answers the questions on *subject* of the bus at *url* with *function*, up to *at_once* side by side.

    Several that do so share the questions. With a *secret_file* only questions that its secret has signed are
    answered, and the answers are signed; it is read each time, so that the secret can be replaced.
    """

    url: str
    subject: str
    function: Function
    at_once: int
    secret_file: Path | None = None

    def serve(self, stopped: threading.Event, ready: Callable[[], None]) -> None:
        """Do so until *stopped* is set; *ready* is called when questions are heard.

        Raises:
            Transient: When the bus does not answer, or not any more.
            InvalidSettings: If there is another kind of queue in the place of its own.
        """
        with ThreadPoolExecutor(self.at_once) as pool:
            try:
                if is_nats(self.url):
                    asyncio.run(self._serve_nats(pool, stopped, ready))
                else:
                    self._serve_rabbitmq(pool, stopped, ready)
            except (NatsError, OSError) as error:
                raise self._away(error) from error

    def _serve_rabbitmq(self, pool: Executor, stopped: threading.Event, ready: Callable[[], None]) -> None:
        # The queue goes with its last consumer: so ipam knows at once that there is none.
        queue = Queue(self.subject, durable=True, auto_delete=True)
        lock = threading.Lock()
        asked, answering = (Connection(self.url, connect_timeout=CONNECT_TIMEOUT_S) for _ in range(2))
        errors = (*asked.connection_errors, *asked.channel_errors)
        try:
            with asked, answering:
                producer = Producer(answering.channel())

                def answer(message: Message) -> None:
                    answered, headers = self._answer(body_of(message), message.headers)
                    key = message.properties.get("correlation_id")
                    with lock, suppress(*errors):  # Then the loop below ends as well.
                        producer.publish(
                            answered,
                            routing_key=message.properties.get("reply_to"),
                            correlation_id=key,
                            headers=headers,
                            content_type="application/json",
                            content_encoding="utf-8",
                        )

                def hear(message: Message) -> None:
                    pool.submit(answer, message)

                with asked.Consumer([queue], on_message=hear, no_ack=True):
                    ready()
                    while not stopped.is_set():
                        with suppress(TimeoutError):
                            asked.drain_events(timeout=_LOOKS_UP_AFTER_S)
        except PreconditionFailed:
            message = (
                f"--subject: the bus has a queue {self.subject!r} that was declared otherwise; delete that queue, "
                "or choose another --subject, and say the same as `subject` where the hook is declared"
            )
            raise InvalidSettings(message) from None
        except errors as error:
            raise self._away(error) from error

    async def _serve_nats(self, pool: Executor, stopped: threading.Event, ready: Callable[[], None]) -> None:
        client = await connect_once(self.url, CONNECT_TIMEOUT_S)
        running: set[asyncio.Task[None]] = set()

        async def answer(message: Msg) -> None:
            loop = asyncio.get_running_loop()
            answered, headers = await loop.run_in_executor(pool, self._answer, message.data, message.headers)
            await client.publish(message.reply, answered, headers=headers)

        async def begin(message: Msg) -> None:
            running.add(task := asyncio.create_task(answer(message)))
            task.add_done_callback(running.discard)

        await client.subscribe(self.subject, queue=self.subject, cb=begin)
        await client.flush(int(CONNECT_TIMEOUT_S))
        ready()
        while not stopped.is_set():
            await asyncio.sleep(_LOOKS_UP_AFTER_S)
            if client.is_closed:
                raise ConnectionResetError
        await client.drain()

    def _answer(self, question: bytes, headers: Headers | None) -> tuple[bytes, dict[str, str] | None]:
        """Return the answer to *question* as it goes over the bus, and its headers if it is signed."""
        if self.secret_file is None:
            return answer_with(self.function, question), None
        id_ = str((headers or {}).get(ID_HEADER, ""))
        try:
            secret = Secret.read(self.secret_file, "--secret-file")
        except InvalidSettings as error:
            log.warning("a question was not answered: %s", error)
            return _failed("NoSecret"), None
        if secret.has_signed("question", id_, question, headers or {}):
            answer = answer_with(self.function, question)
        else:
            log.warning("a question was not answered: the secret in %s has not signed it", self.secret_file)
            answer = _failed("UnsignedQuestion")
        return answer, secret.headers("answer", id_, answer)

    def _away(self, error: BaseException) -> Transient:
        return Transient(f"The bus at {without_password(self.url)} does not answer ({type(error).__name__}).")
