"""Receives job results, as workers publish them."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from contextlib import suppress

from celery import Celery
from kombu import Message, Queue

from ipam.allocation.dispatcher import JobResults
from ipam.errors import Transient
from ipam.util.outages import Outage
from ipam.util.urls import without_password
from ipam.workers.celery_app import results_exchange
from ipam.workers.result_codec import ForeignMessage, ResultCodec

log = logging.getLogger(__name__)
# How long it takes at most until the listener stops.
_LOOKS_UP_AFTER_S = 0.25
# And until a broker that is away is tried again.
_PAUSE_S = 1.0


class ResultListener:
    """Listens in a thread of its own.

    Args:
        codec: What reads the messages.
        heard: Is called with the ends of jobs.
        is_heard: Is called with whether that is heard of from now on.
    """

    def __init__(
        self,
        app: Celery,
        codec: ResultCodec,
        heard: Callable[[JobResults], None],
        is_heard: Callable[[bool], None],
    ) -> None:
        self._app = app
        self._announcements = codec
        self._has_warned = False
        self._heard = heard
        self._is_heard = is_heard
        self._stopped = threading.Event()
        remedy = "It is tried again every second; until then the database is asked. Check --broker."
        self._outage = Outage(log, "job results are not received from the broker", remedy)
        self._thread = threading.Thread(target=self._run, name="results", daemon=True)

    def start(self) -> None:
        """Begin; a broker that is away, or goes away, is tried again for as long as it takes."""
        self._thread.start()

    def stop(self) -> None:
        """End, and leave nothing with the broker."""
        self._stopped.set()
        self._thread.join(2 * _LOOKS_UP_AFTER_S)

    def _run(self) -> None:
        while not self._stopped.is_set():
            try:
                self._listen()
            except Exception as error:  # noqa: BLE001 (whatever it is: waiters read the database meanwhile)
                self._outage.begin(without_password(self._app.conf.broker_url), error)
            self._is_heard(False)  # noqa: FBT003 (a callback)
            self._stopped.wait(_PAUSE_S)

    def _listen(self) -> None:
        """Listen to the broker, until it goes away or is another one."""
        url = self._app.conf.broker_url
        queue = Queue("", results_exchange(self._app), exclusive=True, auto_delete=True)
        with (
            self._app.connection_for_read() as connection,
            connection.Consumer([queue], on_message=self._hear, no_ack=True),
        ):
            self._is_heard(True)  # noqa: FBT003
            self._outage.end()
            while not self._stopped.is_set() and self._app.conf.broker_url == url:
                with suppress(TimeoutError):
                    connection.drain_events(timeout=_LOOKS_UP_AFTER_S)
                connection.heartbeat_check()

    def _hear(self, message: Message) -> None:
        try:
            ends = self._announcements.read(_bytes(message.body))
        except ForeignMessage as error:
            if not self._has_warned:
                self._has_warned = True
                log.warning(
                    "a message of job results is not from a worker on this database (%s): it is ignored, as all "
                    "such will be. Check who may write to the broker.",
                    error,
                )
        except Transient as error:
            log.info("waiters read the database, for a message cannot be verified: %s", error.detail)
        else:
            self._heard(ends)


def _bytes(body: bytes | memoryview | str | None) -> bytes:
    return body.encode() if isinstance(body, str) else bytes(body or b"")
