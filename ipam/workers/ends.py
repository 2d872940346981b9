"""How the ends of jobs are written to a message, and read from it."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from typing import Any

import bson
from bson import CodecOptions, ObjectId

from ipam.allocation.dispatcher import Ends
from ipam.models.documents import Job

# What a job has come to is left out when it takes more than this: who waits for it reads it where it is stored.
_MOST_BYTES = 16 * 1024
_CODEC: CodecOptions[dict[str, Any]] = CodecOptions(tz_aware=True)


def write_ends(ends: Ends) -> list[list[str | None]]:
    """*ends* as JSON: of each job its id, and it itself as BSON in base64."""
    return [[str(id_), _written(job) if job is not None else None] for id_, job in ends.items()]


def read_ends(message: Iterable[tuple[str, str | None]]) -> dict[ObjectId, Job | None]:
    """The ends in a *message* that `write_ends` has made."""
    return {ObjectId(id_): _read(job) if job is not None else None for id_, job in message}


def _written(job: Job) -> str | None:
    stored = bson.encode(job.to_bson())
    return base64.b64encode(stored).decode() if len(stored) <= _MOST_BYTES else None


def _read(job: str) -> Job:
    return Job.from_bson(bson.decode(base64.b64decode(job), _CODEC))
