"""Asking hooks on RabbitMQ."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from amqp.exceptions import MessageNacked
from kombu import Connection, Message, Producer, Queue

from ipam.hooks.session import CONNECT_TIMEOUT_S, NO_CONSUMER, PendingAnswers, Question

_LOOKS_UP_AFTER_S = 1.0


class RabbitMqSession:
    """RabbitMQ: a question goes to the queue that is called as the subject, the answer to a queue of this process.

    `correlation_id` says which question is answered. A question that no consumer can get, for lack of a queue, is
    known to be unanswered at once. There are two connections, as one may not be used by two threads.

    Raises:
        OSError: If RabbitMQ cannot be reached.
    """

    def __init__(self, url: str) -> None:
        self.pending = PendingAnswers()
        self._stopped = False
        self._thread: threading.Thread | None = None
        options = {"confirm_publish": True}
        self._asking = Connection(url, connect_timeout=CONNECT_TIMEOUT_S, transport_options=options)
        self._hearing = Connection(url, connect_timeout=CONNECT_TIMEOUT_S)
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
        """Implement `Session`."""
        return self._thread is not None and self._thread.is_alive()

    def publish(self, subject: str, questions: Sequence[Question], timeout_s: float) -> None:
        """Implement `Session`; RabbitMQ discards what no consumer has fetched within *timeout_s*."""
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
                    confirm_timeout=CONNECT_TIMEOUT_S,
                )
        except self._errors as error:
            raise OSError(type(error).__name__) from error

    def close(self) -> None:
        """Implement `Session`."""
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
        self.pending.resolve(str(message.properties.get("correlation_id")), body_of(message), message.headers)

    def _nobody(self, _error: Exception, _exchange: object, _routing_key: str, message: Message) -> None:
        self.pending.resolve(str(message.properties.get("correlation_id")), NO_CONSUMER)


def body_of(message: Message) -> bytes:
    """Return the body as it came; kombu has it as text where its headers say so."""
    body: Any = message.body
    return body.encode() if isinstance(body, str) else bytes(body)
