"""Asking the consumers on a bus, and hearing what they answer, within a time."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Coroutine, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, Protocol, TypeVar
from uuid import uuid4

from amqp.exceptions import MessageNacked
from kombu import Connection, Message, Producer, Queue
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError

from ipam.events.buses import is_nats
from ipam.events.nats_connection import connect_once
from ipam.exact_json import loads
from ipam.hooks import Unanswered
from ipam.settings import without_password

_CONNECT_TIMEOUT_S = 5.0
_LOOKS_UP_AFTER_S = 1.0
_NO_RESPONDERS = "503"
_NOBODY = Unanswered("nobody is there to be asked")
# A patch has 64 KiB of metadata at most, and some text.
_ANSWER_MOST_BYTES = 1024 * 1024
_TOO_LARGE = Unanswered("its answer has more than 1 MiB")
T = TypeVar("T")
Answer = bytes | Unanswered


class MovingAsker:
    """Asks on a bus that may be somewhere else tomorrow, and of which nobody may know yet where it is.

    Args:
        origin: What says where it is, for people.
    """

    def __init__(self, origin: str) -> None:
        self._origin = origin
        self._asker: BusAsker | None = None

    def move(self, url: str) -> None:
        """Ask at *url* from the next question on; any thread may say so."""
        former, self._asker = self._asker, BusAsker(url)
        if former is not None:
            former.close()

    def ask(self, subject: str, questions: Sequence[bytes], timeout_s: float) -> list[Answer]:
        """As `BusAsker` does."""
        asker = self._asker
        if asker is None:
            return [Unanswered(f"nobody knows yet where the bus is: {self._origin}") for _ in questions]
        return asker.ask(subject, questions, timeout_s)


class Awaited:
    """The answers that are waited for, each by the key that its question went out with."""

    def __init__(self) -> None:
        self._futures: dict[str, Future[Answer]] = {}

    def expect(self, count: int) -> dict[str, Future[Answer]]:
        """That many keys, and what will hold the answers."""
        new: dict[str, Future[Answer]] = {uuid4().hex: Future() for _ in range(count)}
        self._futures.update(new)
        return new

    def hear(self, key: str, answer: Answer) -> None:
        """Take an answer: the first one counts, and only while it is waited for."""
        future = self._futures.pop(key, None)
        if future is not None:
            is_too_large = isinstance(answer, bytes) and len(answer) > _ANSWER_MOST_BYTES
            future.set_result(_TOO_LARGE if is_too_large else answer)

    def collect(self, futures: dict[str, Future[Answer]], timeout_s: float) -> list[Answer]:
        """The answers, those that come within *timeout_s* seconds."""
        deadline = time.monotonic() + timeout_s
        answers: list[Answer] = []
        for key, future in futures.items():
            with suppress(TimeoutError):
                future.result(max(0.0, deadline - time.monotonic()))
            self.hear(key, Unanswered(f"no answer within {timeout_s:g} s"))
            answers.append(future.result())
        return answers


class Session(Protocol):
    """What questions go out by and answers come in by, until it breaks.

    Attributes:
        awaited: The answers to its questions.
    """

    awaited: Awaited

    @property
    def is_alive(self) -> bool:
        """Whether answers are heard."""

    def publish(self, subject: str, questions: Mapping[str, bytes], timeout_s: float) -> None:
        """Send *questions*, each with its key.

        Raises:
            OSError: If the bus does not take them.
        """

    def close(self) -> None:
        """End it."""


class BusAsker:
    """Asks by one session, and by a new one when that is lost."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._lock = threading.Lock()
        self._session: Session | None = None

    def ask(self, subject: str, questions: Sequence[bytes], timeout_s: float) -> list[Answer]:
        """The answer to each of *questions*, which are all asked at once, within about *timeout_s* seconds."""
        # One thread at a time publishes; for answers they wait side by side.
        if not self._lock.acquire(timeout=timeout_s):
            return [self._away("it takes too long") for _ in questions]
        try:
            session, futures = self._publish(subject, questions, timeout_s)
        except OSError as error:
            return [self._away(str(error)) for _ in questions]
        finally:
            self._lock.release()
        return session.awaited.collect(futures, timeout_s)

    def _publish(
        self, subject: str, questions: Sequence[bytes], timeout_s: float
    ) -> tuple[Session, dict[str, Future[Answer]]]:
        if self._session is not None and self._session.is_alive:
            with suppress(OSError):
                return self._session, _publish_by(self._session, subject, questions, timeout_s)
        self.close()
        self._session = None
        self._session = NatsSession(self._url) if is_nats(self._url) else RabbitSession(self._url)
        return self._session, _publish_by(self._session, subject, questions, timeout_s)

    def close(self) -> None:
        """End the session."""
        if self._session is not None:
            self._session.close()

    def _away(self, why: str) -> Unanswered:
        return Unanswered(f"the bus at {without_password(self._url)} is out of reach ({why})")


def _publish_by(
    session: Session, subject: str, questions: Sequence[bytes], timeout_s: float
) -> dict[str, Future[Answer]]:
    futures = session.awaited.expect(len(questions))
    session.publish(subject, dict(zip(futures, questions, strict=True)), timeout_s)
    return futures


class RabbitSession:
    """RabbitMQ: a question goes to the queue that is called as the subject, the answer to a queue of this process.

    `correlation_id` says which question is answered. One that nobody can get, there being no such queue, is known
    to be unanswered at once. There are two connections, as one may not be used by two threads.

    Raises:
        OSError: If RabbitMQ cannot be reached.
    """

    def __init__(self, url: str) -> None:
        self.awaited = Awaited()
        self._stopped = False
        self._thread: threading.Thread | None = None
        options = {"confirm_publish": True}
        self._asking = Connection(url, connect_timeout=_CONNECT_TIMEOUT_S, transport_options=options)
        self._hearing = Connection(url, connect_timeout=_CONNECT_TIMEOUT_S)
        self._errors: tuple[type[BaseException], ...] = (
            *self._asking.connection_errors,
            *self._asking.channel_errors,
            MessageNacked,
        )
        try:
            self._producer = Producer(self._asking.channel(), on_return=self._nobody)
            answers = Queue("", exclusive=True, auto_delete=True)
            consumer = self._hearing.Consumer([answers], on_message=self._heard, no_ack=True)
            consumer.consume()
            self._reply_to = consumer.queues[0].name
        except self._errors as error:
            self.close()
            raise OSError(type(error).__name__) from error
        self._thread = threading.Thread(target=self._hear, name="answers", daemon=True)
        self._thread.start()

    @property
    def is_alive(self) -> bool:
        """As `Session` says."""
        return self._thread is not None and self._thread.is_alive()

    def publish(self, subject: str, questions: Mapping[str, bytes], timeout_s: float) -> None:
        """As `Session` says; RabbitMQ throws away what nobody has fetched when it is not waited for any more."""
        try:
            for key, question in questions.items():
                self._producer.publish(
                    question,
                    routing_key=subject,
                    mandatory=True,
                    content_type="application/json",
                    content_encoding="utf-8",
                    correlation_id=key,
                    reply_to=self._reply_to,
                    expiration=timeout_s,
                    confirm_timeout=_CONNECT_TIMEOUT_S,
                )
        except self._errors as error:
            raise OSError(type(error).__name__) from error

    def close(self) -> None:
        """As `Session` says."""
        self._stopped = True
        if self._thread is not None:
            self._thread.join(2 * _LOOKS_UP_AFTER_S)  # Two threads must not use its connection, to close it either.
        for connection in (self._asking, self._hearing):
            with suppress(*self._errors):
                connection.close()

    def _hear(self) -> None:
        with suppress(*self._errors):
            while not self._stopped:
                with suppress(TimeoutError):
                    self._hearing.drain_events(timeout=_LOOKS_UP_AFTER_S)

    def _heard(self, message: Message) -> None:
        self.awaited.hear(str(message.properties.get("correlation_id")), body_of(message))

    def _nobody(self, _error: Exception, _exchange: object, _routing_key: str, message: Message) -> None:
        self.awaited.hear(str(message.properties.get("correlation_id")), _NOBODY)


class NatsSession:
    """NATS: a request as its clients know it; the subjects that answers come to begin with one of this process.

    Raises:
        OSError: If NATS cannot be reached.
    """

    def __init__(self, url: str) -> None:
        self.awaited = Awaited()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="nats", daemon=True)
        self._thread.start()
        try:
            self._client, self._inbox = self._wait(self._connect(url))
        except OSError:
            self._end_loop()
            raise

    @property
    def is_alive(self) -> bool:
        """As `Session` says."""
        return self._client.is_connected

    def publish(self, subject: str, questions: Mapping[str, bytes], timeout_s: float) -> None:  # noqa: ARG002
        """As `Session` says."""
        self._wait(self._publish(subject, questions))

    def close(self) -> None:
        """As `Session` says."""
        with suppress(OSError):
            self._wait(self._client.close())
        self._end_loop()

    async def _publish(self, subject: str, questions: Mapping[str, bytes]) -> None:
        for key, question in questions.items():
            await self._client.publish(subject, question, reply=f"{self._inbox}.{key}")
        await self._client.flush(int(_CONNECT_TIMEOUT_S))

    async def _connect(self, url: str) -> tuple[Client, str]:
        client = await connect_once(url, _CONNECT_TIMEOUT_S)
        inbox = client.new_inbox()
        await client.subscribe(f"{inbox}.*", cb=self._heard)
        return client, inbox

    async def _heard(self, message: Msg) -> None:
        key = message.subject.rpartition(".")[2]
        if (message.headers or {}).get("Status") == _NO_RESPONDERS:
            self.awaited.hear(key, _NOBODY)
        elif not _is_receipt(message.data):
            self.awaited.hear(key, message.data)

    def _wait(self, work: Coroutine[Any, Any, T]) -> T:
        bounded = asyncio.wait_for(work, 2 * _CONNECT_TIMEOUT_S)
        try:
            return asyncio.run_coroutine_threadsafe(bounded, self._loop).result()
        except (NatsError, OSError, TimeoutError) as error:
            raise OSError(type(error).__name__) from error

    def _end_loop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


def body_of(message: Message) -> bytes:
    """The body as it came; kombu has it as text where its headers say so."""
    body: Any = message.body
    return body.encode() if isinstance(body, str) else bytes(body)


def _is_receipt(data: bytes) -> bool:
    """Whether this is how JetStream says that it has kept a question, its stream being of that subject too."""
    try:
        said = loads(data)
    except (ValueError, RecursionError):
        return False
    return isinstance(said, dict) and "stream" in said and "seq" in said
