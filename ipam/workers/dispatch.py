"""Waking workers by Celery messages."""

from __future__ import annotations

import logging
import time

from bson import ObjectId
from celery import Celery
from kombu.exceptions import OperationalError
from kombu.pools import ProducerPool, producers

from ipam.errors import Transient
from ipam.workers.app import CARRY_OUT

log = logging.getLogger(__name__)
# After a failure nothing is sent for this long, so that requests do not each wait for a broker that is away.
# What was not sent is found by beat.
_PAUSE_S = 1.0
_CHECK_TIMEOUT_S = 2


class CeleryDispatcher:
    """Sends a message for a target; when that fails the job waits for beat, and the caller is not held up."""

    def __init__(self, app: Celery) -> None:
        self._app = app
        self._silent_until = 0.0
        self._url = ""
        self._connection = app.connection_for_write()

    def dispatch(self, target: ObjectId) -> None:
        """Ask for the jobs of *target* to be carried out. Raises nothing that a broker could cause."""
        if time.monotonic() < self._silent_until:
            return
        try:
            with self._producers().acquire(block=True) as producer:
                self._app.send_task(CARRY_OUT, args=[str(target)], retry=False, producer=producer)
        except (OperationalError, OSError) as error:
            self._silent_until = time.monotonic() + _PAUSE_S
            log.warning("the broker took no message (%s); beat will send it later", error)

    def _producers(self) -> ProducerPool:
        """Those of the broker where it is now; a pool never looks whether it has moved."""
        url = self._app.conf.broker_url
        if url != self._url:
            self._url, self._connection = url, self._app.connection_for_write()
        pool: ProducerPool = producers[self._connection]
        pool.limit = self._app.conf.broker_pool_limit
        return pool

    def check(self) -> None:
        """Ask the broker for a connection.

        Raises:
            Transient: If it gives none.
        """
        try:
            with self._app.connection_for_write() as connection:
                connection.ensure_connection(max_retries=1, timeout=_CHECK_TIMEOUT_S)
        except (OperationalError, OSError) as error:
            raise Transient("The broker did not answer.") from error
