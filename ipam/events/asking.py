"""Asking the consumers on a bus, and hearing what they answer, within a time."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Coroutine, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar
from uuid import uuid4

from amqp.exceptions import MessageNacked
from kombu import Connection, Message, Producer, Queue
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError

from ipam.errors import InvalidSettings
from ipam.events.buses import is_nats
from ipam.events.nats_connection import connect_once
from ipam.events.signing import Headers, Secret
from ipam.hooks import Hook, Unanswered
from ipam.settings import without_password
from ipam.util.lossless_json import loads

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

    def ask(self, hook: Hook, questions: Sequence[bytes]) -> list[Answer]:
        """As `BusAsker` does."""
        asker = self._asker
        if asker is None:
            return [Unanswered(f"nobody knows yet where the bus is: {self._origin}") for _ in questions]
        return asker.ask(hook, questions)


@dataclass(slots=True, eq=False)
class Question:
    """A question that goes out, and the answer that comes in.

    Attributes:
        body: As it goes over the bus.
        secret: What has to sign it and its answer, if anything has.
        key: What its answer is known by.
        answer: The answer, when there is one.
        was_forged: Whether there was an answer that the secret had not signed.
    """

    body: bytes
    secret: Secret | None
    key: str = field(default_factory=lambda: uuid4().hex)
    answer: Future[Answer] = field(default_factory=Future)
    was_forged: bool = False

    @property
    def headers(self) -> dict[str, str] | None:
        """The headers that it goes out with, if it is signed."""
        return self.secret.headers("question", self.key, self.body) if self.secret else None


class Awaited:
    """The questions whose answers are waited for, by key."""

    def __init__(self) -> None:
        self._questions: dict[str, Question] = {}

    def expect(self, question: Question) -> None:
        """Hear the answer to *question* from now on."""
        self._questions[question.key] = question

    def hear(self, key: str, answer: Answer, headers: Headers | None = None) -> None:
        """Take an answer: the first one counts, and only while it is waited for.

        One that the secret has not signed is ignored: the right one is still waited for.
        """
        question = self._questions.get(key)
        if question is None:
            return
        secret = question.secret
        if secret and isinstance(answer, bytes) and not secret.has_signed("answer", key, answer, headers or {}):
            question.was_forged = True
        elif self._questions.pop(key, None) is not None:
            is_too_large = isinstance(answer, bytes) and len(answer) > _ANSWER_MOST_BYTES
            question.answer.set_result(_TOO_LARGE if is_too_large else answer)

    def collect(self, questions: Sequence[Question], timeout_s: float) -> list[Answer]:
        """Return the answers to *questions*, those that come within *timeout_s* seconds."""
        deadline = time.monotonic() + timeout_s
        for question in questions:
            with suppress(TimeoutError):
                question.answer.result(max(0.0, deadline - time.monotonic()))
            forged = ", but one that the secret has not signed" if question.was_forged else ""
            self.hear(question.key, Unanswered(f"no answer within {timeout_s:g} s{forged}"))
        return [question.answer.result() for question in questions]


class Session(Protocol):
    """What questions go out by and answers come in by, until it breaks.

    Attributes:
        awaited: The answers to its questions.
    """

    awaited: Awaited

    @property
    def is_alive(self) -> bool:
        """Whether answers are heard."""

    def publish(self, subject: str, questions: Sequence[Question], timeout_s: float) -> None:
        """Send *questions*, each with its key and its headers.

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

    def ask(self, hook: Hook, questions: Sequence[bytes]) -> list[Answer]:
        """The answer to each of *questions*, which *hook* is asked all at once, within about its time."""
        try:
            secret = Secret.read(hook.secret_file, "secret_file") if hook.secret_file else None
        except InvalidSettings as error:
            return [Unanswered(str(error)) for _ in questions]
        asked = [Question(body, secret) for body in questions]
        # One thread at a time publishes; for answers they wait side by side.
        if not self._lock.acquire(timeout=hook.timeout_s):
            return [self._away("it takes too long") for _ in questions]
        try:
            session = self._publish(hook, asked)
        except OSError as error:
            return [self._away(str(error)) for _ in questions]
        finally:
            self._lock.release()
        return session.awaited.collect(asked, hook.timeout_s)

    def _publish(self, hook: Hook, questions: Sequence[Question]) -> Session:
        if self._session is not None and self._session.is_alive:
            with suppress(OSError):
                return _publish_by(self._session, hook, questions)
        self.close()
        self._session = None
        self._session = NatsSession(self._url) if is_nats(self._url) else RabbitSession(self._url)
        return _publish_by(self._session, hook, questions)

    def close(self) -> None:
        """End the session."""
        if self._session is not None:
            self._session.close()

    def _away(self, why: str) -> Unanswered:
        return Unanswered(f"the bus at {without_password(self._url)} is out of reach ({why})")


def _publish_by(session: Session, hook: Hook, questions: Sequence[Question]) -> Session:
    for question in questions:
        session.awaited.expect(question)
    session.publish(hook.subject, questions, hook.timeout_s)
    return session


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

    def publish(self, subject: str, questions: Sequence[Question], timeout_s: float) -> None:
        """As `Session` says; RabbitMQ throws away what nobody has fetched when it is not waited for any more."""
        try:
            for question in questions:
                self._producer.publish(
                    question.body,
                    routing_key=subject,
                    mandatory=True,
                    content_type="application/json",
                    content_encoding="utf-8",
                    correlation_id=question.key,
                    headers=question.headers,
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
        self.awaited.hear(str(message.properties.get("correlation_id")), body_of(message), message.headers)

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

    def publish(self, subject: str, questions: Sequence[Question], timeout_s: float) -> None:  # noqa: ARG002
        """As `Session` says."""
        self._wait(self._publish(subject, questions))

    def close(self) -> None:
        """As `Session` says."""
        with suppress(OSError):
            self._wait(self._client.close())
        self._end_loop()

    async def _publish(self, subject: str, questions: Sequence[Question]) -> None:
        for question in questions:
            reply = f"{self._inbox}.{question.key}"
            await self._client.publish(subject, question.body, reply, question.headers)
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
            self.awaited.hear(key, message.data, message.headers)

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
