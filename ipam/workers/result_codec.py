"""Encoding of finished jobs in signed messages."""

from __future__ import annotations

import base64
import hmac
import time
from collections.abc import Callable
from typing import Any

import bson
from bson import CodecOptions, ObjectId

from ipam.allocation.dispatcher import JobResults
from ipam.models.job import Job
from ipam.util.lossless_json import dumps, loads

# A larger result is left out of the message: its waiters read the stored job.
_MOST_BYTES = 16 * 1024
# A batch of such jobs takes less.
_MOST_BYTES_OF_A_MESSAGE = 16 * 1024 * 1024
# So long a secret is used before it is read again: the database may have become another one.
_SECRET_HOLDS_S = 60.0
_CODEC: CodecOptions[dict[str, Any]] = CodecOptions(tz_aware=True)


class ForeignMessage(ValueError):
    """A message that no process with this database has made."""


class ResultCodec:
    """Writes and reads messages of jobs that have ended.

    They are signed (HMAC with SHA-256): callers are answered from them, and anyone with access to the broker could
    make up others.

    Args:
        read_secret: Returns what is known to processes with this database alone.
    """

    def __init__(self, read_secret: Callable[[], bytes]) -> None:
        self._read_secret = read_secret
        self._secret = b""
        self._read_at = -_SECRET_HOLDS_S

    def write(self, ends: JobResults) -> str:
        """Return *ends* as a message: a signature, and as JSON of each job its id and it itself as BSON in base64.

        Raises:
            Transient: If the secret has to be read and the database does not answer.
        """
        text = dumps([[str(id_), _written(job) if job is not None else None] for id_, job in ends.items()])
        return f"{self._signature(text.encode())} {text}"

    def read(self, message: bytes) -> JobResults:
        """Return the ends in a *message* that `write` has made.

        Raises:
            ForeignMessage: If it was made by another program.
            Transient: As `write` does.
        """
        if len(message) > _MOST_BYTES_OF_A_MESSAGE:
            raise ForeignMessage("it is too large")
        signature, _, text = message.partition(b" ")
        if not hmac.compare_digest(signature, self._signature(text).encode()):
            raise ForeignMessage("its signature is wrong")
        return {ObjectId(id_): _read(job) if job is not None else None for id_, job in loads(text)}

    def _signature(self, text: bytes) -> str:
        if time.monotonic() - self._read_at >= _SECRET_HOLDS_S:
            self._secret, self._read_at = self._read_secret(), time.monotonic()
        return hmac.digest(self._secret, text, "sha256").hex()


def _written(job: Job) -> str | None:
    stored = bson.encode(job.to_bson())
    return base64.b64encode(stored).decode() if len(stored) <= _MOST_BYTES else None


def _read(job: str) -> Job:
    return Job.from_bson(bson.decode(base64.b64decode(job), _CODEC))
