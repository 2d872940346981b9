"""Messages over Celery's broker: work for workers, and job results for all web processes."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any
from uuid import uuid4

from bson import ObjectId
from celery import Celery
from kombu import Producer
from kombu.exceptions import OperationalError
from kombu.pools import ProducerPool, producers

from ipam.allocation.dispatcher import JobResults
from ipam.errors import Transient
from ipam.util.outages import Outage
from ipam.util.urls import without_password
from ipam.workers.celery_app import CARRY_OUT, results_exchange
from ipam.workers.result_codec import ResultCodec

log = logging.getLogger(__name__)
# After a failure nothing is sent for this long, so that requests do not each wait for a broker that is away.
# What was not sent is found by recovery, or by the waiter.
_PAUSE_S = 1.0
_CHECK_TIMEOUT_S = 2
_ANSWER_TIMEOUT_S = 1


class CeleryDispatcher:
    """Sends messages; when that fails what they are about is found later, and the caller is not held up."""

    def __init__(self, app: Celery, codec: ResultCodec | None = None) -> None:
        """Make a dispatcher; without *codec*, for a process that carries out no jobs, it publishes no results."""
        self._app = app
        self._codec = codec
        self._ends = results_exchange(app)
        self._silent_until: dict[str, float] = {}
        self._outages: dict[str, Outage] = {}
        self._connection = app.connection_for_write()
        self._pool: tuple[str, ProducerPool] | None = None

    def dispatch(self, target: ObjectId, pause_s: float = 0.0) -> None:
        """Ask for the jobs of *target* to be carried out, as `Dispatcher` says."""
        self.send("of jobs to be carried out", CARRY_OUT, args=[str(target)], countdown=pause_s or None)

    def send(self, about: str, task: str, **options: Any) -> None:
        """Ask for *task* to be run, *about* saying what it is for. Raises nothing that a broker could cause."""
        self._send(about, lambda producer: self._app.send_task(task, retry=False, producer=producer, **options))

    def publish_results(self, ends: JobResults) -> None:
        """Publish *ends* to all web processes. Raises nothing that a broker could cause."""
        if not ends or self._codec is None:
            return
        try:
            message, exchange = self._codec.write(ends).encode(), self._ends
        except Transient as error:
            log.info("ends of jobs are not announced, and will be looked for: %s", error.detail)
            return
        self._send(
            "of jobs that have ended",
            lambda producer: producer.publish(
                message,
                exchange=exchange,
                declare=[exchange],
                retry=False,
                content_type="application/octet-stream",
                content_encoding="binary",
            ),
        )

    def _send(self, about: str, publish: Callable[[Producer], object]) -> None:
        if time.monotonic() < self._silent_until.get(about, 0.0):
            return
        errors: tuple[type[BaseException], ...] = (OperationalError, OSError)
        errors += self._connection.connection_errors + self._connection.channel_errors
        try:
            with self._producers().acquire(block=True) as producer:
                publish(producer)
        except errors as error:
            self._silent_until[about] = time.monotonic() + _PAUSE_S
            self._outage(about).begin(without_password(self._app.conf.broker_url), error)
        else:
            self._outage(about).end()

    def _outage(self, about: str) -> Outage:
        remedy = "What they are about is found without them; it is tried again each second. Check --broker."
        return self._outages.setdefault(about, Outage(log, f"the broker takes no message {about}", remedy))

    def _producers(self) -> ProducerPool:
        """Return the producers for the broker at its present endpoint; a pool does not follow it."""
        url = self._app.conf.broker_url
        if self._pool is None or self._pool[0] != url:
            self._connection = self._app.connection_for_write()
            pool: ProducerPool = producers[self._connection]
            # Only once: kombu makes room for so many more whenever it is set.
            pool.limit = self._app.conf.broker_pool_limit
            self._pool = url, pool
        return self._pool[1]

    def check(self) -> None:
        """Have the broker take a message, and give it back.

        To be connected says little: a broker that is read-only, or out of memory, or held up by an alarm lets
        everybody in. The queue is this call's own and goes with its connection.

        Raises:
            Transient: If it does not.
        """
        name = f"{self._app.conf.task_default_queue}.check.{uuid4().hex}"
        # RabbitMQ under an alarm lets everybody in and then reads nothing: only a time limit tells.
        limits = {"read_timeout": _ANSWER_TIMEOUT_S, "write_timeout": _ANSWER_TIMEOUT_S}
        connection = self._app.connection_for_write(transport_options=limits)
        errors: tuple[type[BaseException], ...] = (OperationalError, OSError)
        errors += connection.connection_errors + connection.channel_errors
        try:
            with connection:
                connection.ensure_connection(max_retries=1, timeout=_CHECK_TIMEOUT_S)
                channel: Any = connection.default_channel
                channel.queue_declare(queue=name, exclusive=True, auto_delete=True)
                Producer(channel).publish("", routing_key=name)
                is_back = channel.basic_get(name, no_ack=True) is not None
        except errors as error:
            reason = str(error) or type(error).__name__
            raise Transient(f"The broker takes no message: {reason.rstrip('.')}.") from error
        if not is_back:
            raise Transient("The broker has lost the message that it took.")
