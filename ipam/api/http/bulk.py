"""Several requests for addresses in one POST, and what became of each."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import falcon
from bson import ObjectId

from ipam.api.http.accepted import POLL_AFTER_S
from ipam.api.http.problems import problem
from ipam.api.http.responses import Json, job_json, render
from ipam.errors import IpamError
from ipam.models.job import Job
from ipam.storage.sizes import ANSWER_MAX_BYTES
from ipam.util.lossless_json import RawJSON, dumps

_ACCEPTED, _SERVER_ERROR = 202, 500


@dataclass(frozen=True, slots=True)
class ItemResult:
    """The result of one request of a list.

    Attributes:
        status: As it would be, had the request come alone.
        kind: What `value` is: `reservation`, `job` or `problem`.
        location: Where that can be read, now and later; None if nowhere.
    """

    status: int
    kind: str
    value: Json
    location: str | None = None

    @classmethod
    def accepted(cls, job: Job) -> ItemResult:
        """Return the result of a request whose *job* goes on."""
        return cls(_ACCEPTED, "job", job_json(job), f"/jobs/{job.id}")

    @classmethod
    def refused(cls, error: IpamError, job: Job | None = None) -> ItemResult:
        """Return the result of a request that was refused, or whose *job* has failed."""
        shown = problem(error.slug, error.detail, **error.facts)
        return cls(shown["status"], "problem", shown, f"/jobs/{job.id}" if job else None)


def item_id(place: int, of: ObjectId) -> ObjectId:
    """Return the id of the job for the request at *place* of the list with the id *of*: each time the same.

    Ids ascend with their places; no other list of the same second has them, for 48 bits of a hash.
    """
    return ObjectId(of.binary[:4] + hashlib.sha256(of.binary).digest()[:6] + place.to_bytes(2, "big"))


def render_bulk(req: falcon.Request, resp: falcon.Response, outcomes: Iterable[ItemResult]) -> None:
    """Answer with *outcomes* in their order: 202 if any of them goes on.

    Any that goes on, or has failed for a reason that may pass, is a reason to ask again (`Retry-After`). Of those
    that do not fit into 8 MiB it is only said where they can be read.
    """
    shown: list[RawJSON] = []
    size, status, is_final = 0, 200, True
    for one in outcomes:
        if one.status == _ACCEPTED:
            status = _ACCEPTED
        is_final &= one.status != _ACCEPTED and one.status < _SERVER_ERROR
        said: dict[str, Any] = {"status": one.status, **({"location": one.location} if one.location else {})}
        text = dumps({**said, one.kind: one.value})
        size += len(text.encode())
        is_shown = size <= ANSWER_MAX_BYTES or one.location is None
        shown.append(RawJSON(text if is_shown else dumps(said)))
    if not is_final:
        resp.set_header("Retry-After", str(POLL_AFTER_S))
    render(req, resp, "outcomes", {"outcomes": shown}, status=status)
