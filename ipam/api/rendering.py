"""Answers: the JSON of each resource, and how it goes out."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

import falcon

from ipam.api.conditions import entity_tag, is_unchanged
from ipam.api.media import answer_type
from ipam.api.problems import problem_of
from ipam.models.documents import Document, Job, JobState, Lease, Pool, Reservation, Subnet
from ipam.models.subnets import Usage

Json = dict[str, Any]


def _time(moment: datetime | None) -> str | None:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z") if moment else None


def _common(document: Document) -> Json:
    return {
        "id": str(document.id),
        "name": document.name,
        "tags": list(document.tags),
        "metadata": document.metadata,
        "created_at": _time(document.created_at),
        "updated_at": _time(document.updated_at),
        "revision": document.revision,
    }


def pool_json(pool: Pool, usage: Usage) -> Json:
    """A pool with what its subnets come to."""
    totals = {"subnets": usage.subnets, "size": usage.size, "used": usage.used, "free": usage.size - usage.used}
    return {**_common(pool), **totals}


def subnet_json(subnet: Subnet) -> Json:
    """A subnet."""
    used = subnet.ledger.used
    return {
        **_common(subnet),
        "pool": str(subnet.pool),
        "start": str(subnet.start),
        "end": str(subnet.end),
        "cidr": subnet.cidr,
        "gateway": str(subnet.gateway) if subnet.gateway else None,
        "exclusions": list(subnet.exclusions),
        "strategy": subnet.strategy.value,
        "cooldown": subnet.cooldown,
        "size": subnet.size,
        "used": used,
        "free": subnet.size - used,
        "utilization": round(used / subnet.size, 6),
    }


def reservation_json(reservation: Reservation, pool: Pool | None, subnet: Subnet | None) -> Json:
    """A reservation with the metadata of its *pool* and, when it is the only one, its *subnet*."""
    return {
        **_common(reservation),
        "pool": str(reservation.pool),
        "subnet": str(reservation.subnet) if reservation.subnet else None,
        "subnets": [str(id_) for id_ in reservation.subnets],
        "count": reservation.count,
        "state": reservation.state.value,
        "expires_at": None,
        "pool_metadata": pool.metadata if pool else None,
        "subnet_metadata": subnet.metadata if subnet else None,
    }


def lease_json(lease: Lease) -> Json:
    """A lease."""
    return {
        **_common(lease),
        "address": str(lease.address),
        "subnet": str(lease.subnet),
        "reservation": str(lease.reservation),
    }


def job_json(job: Job) -> Json:
    """A job; `reservation` is set once it exists."""
    succeeded = job.state is JobState.SUCCEEDED
    total = job.request["count"]
    return {
        "id": str(job.id),
        "kind": job.kind,
        "state": job.state.value,
        "pool": str(job.pool),
        "subnet": str(job.subnet) if job.subnet else None,
        "request": job.request,
        "reservation": str(job.reservation) if succeeded else None,
        "error": problem_of(job.error) if job.error else None,
        "attempts": job.attempts,
        "progress": {"done": total if succeeded else 0, "total": total},
        "created_at": _time(job.created_at),
        "started_at": _time(job.started_at),
        "finished_at": _time(job.finished_at),
        "revision": job.revision,
    }


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
    body = json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
    tag = entity_tag(value.get("revision", 0), body)
    resp.etag = tag
    resp.set_header("Vary", "Accept")
    if location is not None:
        resp.set_header("Location", location)
    if req.method in ("GET", "HEAD") and is_unchanged(req, tag):
        resp.status = 304
        return
    resp.status = status
    resp.content_type = answer_type(req, kind)
    resp.data = body


def render_list(
    req: falcon.Request, resp: falcon.Response, kind: str, items: list[Json], cursor: str | None
) -> None:
    """Answer with a page of a list, and with the way to the next one when there is one."""
    value: Json = {kind: items}
    if cursor is not None:
        following = urlencode([*_parameters(req, without="cursor"), ("cursor", cursor)])
        value["next"] = f"{req.path}?{following}"
        resp.set_header("Link", f'<{value["next"]}>; rel="next"')
    render(req, resp, kind, value)


def _parameters(req: falcon.Request, without: str) -> list[tuple[str, str]]:
    pairs = [(name, value) for name, values in req.params.items() for value in _as_list(values)]
    return [(name, value) for name, value in pairs if name != without]


def _as_list(value: str | list[str]) -> list[str]:
    return value if isinstance(value, list) else [value]
