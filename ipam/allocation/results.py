"""What a request comes to: its reservation and its leases, the same whoever makes them, and whenever."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime

from bson import ObjectId

from ipam.allocation.requests import ReservationRequest
from ipam.models.address_sets import AddressSet
from ipam.models.addresses import Address
from ipam.models.documents import Holding, Job, JobState, Lease, Reservation, Subnet, lease_key
from ipam.models.ledgers import Grant

# So many addresses are told with the end of their job; more of them are read where they are stored.
_TOLD = 1000
_ID_BYTES = 12


def reservation_of(job: Job, held: Iterable[tuple[ObjectId, AddressSet]], granted_at: datetime) -> Reservation:
    """The reservation of *job*, which was given the addresses *held*, by subnet."""
    request = ReservationRequest.from_json(job.request)
    holdings = tuple(Holding(subnet, addresses) for subnet, addresses in held)
    return Reservation(
        id=job.reservation,
        name=request.name,
        tags=request.tags,
        metadata=request.metadata,
        pool=job.pool,
        subnets=tuple(holding.subnet for holding in holdings),
        count=request.count,
        holdings=holdings,
        created_at=granted_at,
    )


def lease_of(grant: Grant, subnet: Subnet, address: Address) -> Lease:
    """The lease of an *address* of *subnet* by *grant*."""
    return _lease(
        reservation=grant.reservation,
        pool=subnet.pool,
        subnet=subnet.id,
        address=address,
        at=grant.at,
        entry=grant.version,
    )


def succeeded(job: Job, grants: Mapping[ObjectId, Grant], now: datetime) -> Job:
    """*job* as it ends *now* by *grants*, by subnet, with what it has come to if that is little.

    One that was never claimed has begun just now.
    """
    ended = replace(
        job,
        state=JobState.SUCCEEDED,
        attempts=max(job.attempts, 1),
        started_at=job.started_at or now,
        finished_at=now,
        revision=job.revision + 1,
    )
    if sum(len(grant.addresses) for grant in grants.values()) > _TOLD:
        return ended
    return replace(ended, held=held_by(grants), held_since=granted_at(grants))


def held_by(grants: Mapping[ObjectId, Grant]) -> tuple[tuple[ObjectId, AddressSet], ...]:
    """The addresses of *grants*, by subnet."""
    return tuple((subnet, grant.addresses) for subnet, grant in grants.items())


def granted_at(grants: Mapping[ObjectId, Grant]) -> datetime:
    """When the addresses of *grants* were granted."""
    return min(grant.at for grant in grants.values())


def result_of(job: Job) -> tuple[Reservation, list[Lease]] | None:
    """The reservation and the leases of *job*, as they were at its end; None if that was not told with it."""
    if job.held is None or job.held_since is None:
        return None
    since = job.held_since
    leases = [
        _lease(reservation=job.reservation, pool=job.pool, subnet=subnet, address=address, at=since, entry=0)
        for subnet, addresses in sorted(job.held)
        for address in addresses
    ]
    return reservation_of(job, job.held, since), leases


def _lease(  # noqa: PLR0913 (a lease has that many parts)
    *, reservation: ObjectId, pool: ObjectId, subnet: ObjectId, address: Address, at: datetime, entry: int
) -> Lease:
    # Derived from what it is of, so that it is the same whoever writes it.
    key = hashlib.sha256(reservation.binary + lease_key(subnet, address)).digest()
    return Lease(
        id=ObjectId(key[:_ID_BYTES]),
        subnet=subnet,
        pool=pool,
        reservation=reservation,
        address=address,
        entry=entry,
        created_at=at,
    )
