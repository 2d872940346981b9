"""The JSON of each resource, as answers and events show it."""

from __future__ import annotations

from datetime import datetime
from functools import lru_cache
from typing import Any

from ipam.models.document import Document
from ipam.models.job import Job, JobKind, JobState
from ipam.models.lease import Lease
from ipam.models.pool import Pool
from ipam.models.reservation import Reservation
from ipam.models.subnet import Subnet

Json = dict[str, Any]
_SHARE_DIGITS = 6
_SHARE_LEAST = 10**-_SHARE_DIGITS


@lru_cache(maxsize=256)  # The leases of a reservation have the same.
def time_json(moment: datetime | None) -> str | None:
    """Return a time by RFC 3339, in UTC."""
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z") if moment else None


def pool_json(pool: Pool) -> Json:
    """Return a pool without what its subnets come to."""
    return _common(pool)


def subnet_json(subnet: Subnet) -> Json:
    """Return a subnet."""
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
        "utilization": _share(used, subnet.size),
    }


def _share(used: int, size: int) -> float:
    """Return how much of *size* is *used*, to six digits: 0 only of none, 1 only of all."""
    share = round(used / size, _SHARE_DIGITS)
    return min(max(share, _SHARE_LEAST), 1 - _SHARE_LEAST) if 0 < used < size else share


def reservation_json(reservation: Reservation) -> Json:
    """Return a reservation without what it carries of its pool and subnet."""
    return {
        **_common(reservation),
        "pool": str(reservation.pool),
        "subnet": str(reservation.subnet) if reservation.subnet else None,
        "subnets": [str(id_) for id_ in reservation.subnets],
        "count": reservation.count,
        "state": reservation.state.value,
        "expires_at": None,
    }


def lease_json(lease: Lease) -> Json:
    """Return a lease."""
    return {
        **_common(lease),
        "address": str(lease.address),
        "subnet": str(lease.subnet),
        "reservation": str(lease.reservation),
    }


def job_json(job: Job) -> Json:
    """Return a job; `reservation` is that which is released, or that which it made."""
    succeeded = job.state is JobState.SUCCEEDED
    has_reservation = job.kind is JobKind.RELEASE or (succeeded and job.kind is JobKind.RESERVATION)
    total = job.request["count"]
    return {
        "id": str(job.id),
        "kind": job.kind.value,
        "state": job.state.value,
        "pool": str(job.pool),
        "subnet": str(job.subnet) if job.subnet else None,
        "request": job.request,
        "reservation": str(job.reservation) if has_reservation else None,
        "error": _error_json(job.error) if job.error else None,
        "attempts": job.attempts,
        "progress": {"done": total if succeeded else min(job.done, total), "total": total},
        "created_at": time_json(job.created_at),
        "started_at": time_json(job.started_at),
        "finished_at": time_json(job.finished_at),
        "revision": job.revision,
        "actor": job.audit_context.actor,
        "request_id": job.audit_context.request_id,
        "traceparent": job.audit_context.traceparent,
    }


def _error_json(record: Json) -> Json:
    return {"type": f"/problems/{record['slug']}", "detail": record["detail"], **record["facts"]}


def _common(document: Document) -> Json:
    return {
        "id": str(document.id),
        "name": document.name,
        "tags": list(document.tags),
        "metadata": document.metadata,
        "created_at": time_json(document.created_at),
        "updated_at": time_json(document.updated_at),
        "revision": document.revision,
    }
