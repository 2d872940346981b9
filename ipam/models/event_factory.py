"""Makes the event of each kind of change."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from ipam.models.audit_context import AuditContext, current_audit_context
from ipam.models.document import Document
from ipam.models.event import Event
from ipam.models.job import Job, listed
from ipam.models.lease import Lease
from ipam.models.pool import Pool
from ipam.models.reservation import Reservation
from ipam.models.subnet import Subnet
from ipam.models.token import Token
from ipam.util.clock import utc_now
from ipam.util.lossless_json import dumps

Json = dict[str, Any]

# Of all events that there are.
TYPES = (
    *("ipam.pool.created", "ipam.pool.updated", "ipam.pool.deleted"),
    *("ipam.subnet.created", "ipam.subnet.updated", "ipam.subnet.deleted"),
    *(
        "ipam.reservation.created",
        "ipam.reservation.updated",
        "ipam.reservation.deleted",
        "ipam.reservation.failed",
    ),
    *("ipam.lease.updated", "ipam.lease.released"),
    *("ipam.token.created", "ipam.token.updated", "ipam.token.deleted"),
)
# They change each time, and say nothing about what was changed.
_OF_EVERY_CHANGE = ("revision", "updated_at")


def created(document: Pool | Subnet | Token) -> Event:
    """Return the event that *document* was created."""
    return _happened(document, "created", current_audit_context())


def reserved(reservation: Reservation, audit_context: AuditContext) -> Event:
    """Return the event that *reservation* was created, with its addresses."""
    return _happened(reservation, "created", audit_context, addresses=_addresses(reservation))


def updated(document: Document, before: Document) -> Event:
    """Return the event that *before* was updated to *document*."""
    was, now = before.to_json(), document.to_json()
    changed = {
        name: was[name]
        for name in now
        # Compared as JSON: to Python false is 0 and 1 is 1.0.
        if name not in _OF_EVERY_CHANGE and dumps(was[name]) != dumps(now[name])
    }
    return _happened(document, "updated", current_audit_context(), before=changed)


def deleted(document: Pool | Subnet | Reservation | Token) -> Event:
    """Return the event that *document* was deleted; of a reservation it names the addresses still held."""
    more = {"addresses": _addresses(document)} if isinstance(document, Reservation) else {}
    return _happened(document, "deleted", current_audit_context(), **more)


def released(lease: Lease) -> Event:
    """Return the event that *lease* was released while its reservation keeps others."""
    return _happened(lease, "released", current_audit_context())


def failed(job: Job) -> Event:
    """Return the event that a reservation request failed: it was refused, given up, or cancelled."""
    time: datetime = job.finished_at or utc_now()
    return Event(
        id=f"job-{job.id}-ended",  # It ends once, whatever its revision is.
        type="ipam.reservation.failed",
        paths=paths_of_job(job),
        revision=job.revision,
        time=time,
        audit_context=job.audit_context,
        data=dumps(listed(job).to_json()),
    )


def paths_of_job(job: Job) -> tuple[str, ...]:
    """Return the path of *job*, and those of what it asks for addresses of."""
    subnet = [f"/subnets/{job.subnet}"] if job.subnet else []
    return (f"/jobs/{job.id}", *subnet, f"/pools/{job.pool}")


def _happened(document: Document, verb: str, audit_context: AuditContext, **more: Any) -> Event:
    return Event(
        id=f"{document.type_name}-{document.public_id}-{document.revision}",
        type=f"ipam.{document.type_name}.{verb}",
        paths=paths_of(document),
        revision=document.revision,
        time=document.updated_at,
        audit_context=audit_context,
        data=dumps({**document.to_json(), **more}),
    )


def _addresses(reservation: Reservation) -> list[str]:
    """Return what *reservation* holds, an address or the first and last of a run each."""
    runs = (run for _, addresses in reservation.left for run in addresses.runs())
    return [str(first) if first == last else f"{first}-{last}" for first, last in runs]


def paths_of(document: Document) -> tuple[str, ...]:
    """Return the path of *document*, and those of what it is in, the nearest first."""
    return (f"/{document.type_name}s/{document.public_id}", *_around(document))


def _around(document: Document) -> list[str]:
    match document:
        case Lease():
            inner = [f"/reservations/{document.reservation}", f"/subnets/{document.subnet}"]
        case Reservation():
            inner = [f"/subnets/{subnet}" for subnet in document.subnets]
        case Subnet():
            inner = []
        case _:
            return []
    return [*inner, f"/pools/{document.pool}"]
