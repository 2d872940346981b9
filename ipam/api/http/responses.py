"""Answers: the JSON of each resource, and how it goes out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar
from urllib.parse import urlencode

import falcon
from bson import ObjectId

from ipam.api.http.etags import entity_tag, is_unchanged
from ipam.api.http.media_types import JSON, answer_type
from ipam.api.http.problems import problem_of
from ipam.models.document import Document
from ipam.models.job import Job
from ipam.models.pool import Pool
from ipam.models.reservation import Reservation
from ipam.storage.ledgers import Usage
from ipam.storage.query import Page
from ipam.storage.sizes import ANSWER_MAX_BYTES
from ipam.util.lossless_json import RawJSON, dumps

Json = dict[str, Any]
D = TypeVar("D", bound=Document | Job)


def pool_json(pool: Pool, usage: Usage) -> Json:
    """Return a pool with what its subnets come to."""
    totals = {"subnets": usage.subnets, "size": usage.size, "used": usage.used, "free": usage.size - usage.used}
    return {**pool.to_json(), **totals}


def reservation_json(reservation: Reservation, around: Mapping[ObjectId, Any]) -> Json:
    """Return a reservation with the metadata *around* it: of its pool and, if it is the only one, its subnet."""
    return {
        **reservation.to_json(),
        "pool_metadata": around[reservation.pool],
        "subnet_metadata": around[reservation.subnet] if reservation.subnet else None,
    }


def job_json(job: Job) -> Json:
    """Return a job, its error being the problem that a request for it was answered."""
    return {**job.to_json(), "error": problem_of(job.error) if job.error else None}


def render(  # noqa: PLR0913 (an answer has that many parts)
    req: falcon.Request,
    resp: falcon.Response,
    kind: str,
    value: Json,
    *,
    status: int = 200,
    location: str | None = None,
) -> None:
    """Answer with *value* as a *kind*, in the type that was negotiated."""
    body = f"{dumps(value)}\n".encode()
    if location is not None:
        resp.set_header("Location", location)
    if _is_known(req, resp, entity_tag(value.get("revision", 0), body)):
        return
    resp.status = status
    resp.context.kind = kind
    resp.content_type = answer_type(req, kind)
    resp.data = body


def render_plain(resp: falcon.Response, value: Json) -> None:
    """Answer with *value*, which has no media type of its own."""
    resp.content_type = JSON
    resp.data = f"{dumps(value)}\n".encode()


def render_bytes(req: falcon.Request, resp: falcon.Response, body: bytes, media_type: str) -> None:
    """Answer with *body*, which changes with the version of ipam only."""
    if not _is_known(req, resp, entity_tag(0, body)):
        resp.content_type = media_type
        resp.data = body


def _is_known(req: falcon.Request, resp: falcon.Response, tag: falcon.ETag) -> bool:
    """Give the answer its *tag*; return whether it is 304, for the caller has the body that it stands for."""
    resp.etag = tag
    if req.method in ("GET", "HEAD") and is_unchanged(req, tag):
        resp.status = 304
        return True
    return False


def render_page(
    req: falcon.Request,
    resp: falcon.Response,
    kind: str,
    page: Page[D],
    show: Callable[[Sequence[D]], Iterable[Json]],
) -> None:
    """Answer with so much of *page* as 8 MiB hold, one item at least; *show* is asked for no more than that."""
    shown: list[RawJSON] = []
    size = 0
    for value in show(page.items):
        text = dumps(value)
        size += len(text.encode())
        if shown and size > ANSWER_MAX_BYTES:
            break
        shown.append(RawJSON(text))
    render_list(req, resp, kind, shown, page.cursor(len(shown)))


def render_list(
    req: falcon.Request, resp: falcon.Response, kind: str, items: Sequence[Json | RawJSON], cursor: str | None
) -> None:
    """Answer with a page of a list, and with the way to the next one when there is one."""
    value: Json = {kind: items}
    if cursor is not None:
        link_next(req, resp, value, cursor=cursor)
    render(req, resp, kind, value)


def link_next(req: falcon.Request, resp: falcon.Response, value: Json, **place: str) -> None:
    """Lead from *value*, a page of a list, to the next one: the same request with another *place* to begin at."""
    (name,) = place
    following = urlencode([*_parameters(req, without=name), *place.items()])
    value["next"] = f"{req.path}?{following}"
    resp.set_header("Link", f'<{value["next"]}>; rel="next"')


def _parameters(req: falcon.Request, without: str) -> list[tuple[str, str]]:
    pairs = [(name, value) for name, values in req.params.items() for value in _as_list(values)]
    return [(name, value) for name, value in pairs if name != without]


def _as_list(value: str | list[str]) -> list[str]:
    return value if isinstance(value, list) else [value]
