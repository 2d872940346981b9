"""Asking hooks on NATS."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Sequence
from contextlib import suppress
from typing import Any, TypeVar

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError

from ipam.hooks.session import CONNECT_TIMEOUT_S, NO_CONSUMER, PendingAnswers, Question
from ipam.util.lossless_json import loads
from ipam.util.nats_connection import connect_once

T = TypeVar("T")
_NO_RESPONDERS = "503"


class NatsSession:
    """NATS: a request as its clients know it; the subjects that answers come to begin with one of this process.

    Raises:
        OSError: If NATS cannot be reached.
    """

    def __init__(self, url: str) -> None:
        self.pending = PendingAnswers()
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
        """Implement `Session`."""
        return self._client.is_connected

    def publish(self, subject: str, questions: Sequence[Question], timeout_s: float) -> None:  # noqa: ARG002
        """Implement `Session`."""
        self._wait(self._publish(subject, questions))

    def close(self) -> None:
        """Implement `Session`."""
        with suppress(OSError):
            self._wait(self._client.close())
        self._end_loop()

    async def _publish(self, subject: str, questions: Sequence[Question]) -> None:
        for question in questions:
            reply = f"{self._inbox}.{question.key}"
            await self._client.publish(subject, question.body, reply, question.headers)
        await self._client.flush(int(CONNECT_TIMEOUT_S))

    async def _connect(self, url: str) -> tuple[Client, str]:
        client = await connect_once(url, CONNECT_TIMEOUT_S)
        inbox = client.new_inbox()
        await client.subscribe(f"{inbox}.*", cb=self._heard)
        return client, inbox

    async def _heard(self, message: Msg) -> None:
        key = message.subject.rpartition(".")[2]
        if (message.headers or {}).get("Status") == _NO_RESPONDERS:
            self.pending.resolve(key, NO_CONSUMER)
        elif not _is_receipt(message.data):
            self.pending.resolve(key, message.data, message.headers)

    def _wait(self, work: Coroutine[Any, Any, T]) -> T:
        bounded = asyncio.wait_for(work, 2 * CONNECT_TIMEOUT_S)
        try:
            return asyncio.run_coroutine_threadsafe(bounded, self._loop).result()
        except (NatsError, OSError, TimeoutError) as error:
            raise OSError(type(error).__name__) from error

    def _end_loop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


def _is_receipt(data: bytes) -> bool:
    """Return whether *data* acknowledges that JetStream has stored a question, as streams of its subject do."""
    try:
        said = loads(data)
    except (ValueError, RecursionError):
        return False
    return isinstance(said, dict) and "stream" in said and "seq" in said
