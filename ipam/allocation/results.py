"""What a request comes to: its reservation and its leases, the same whoever makes them, and whenever."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime

from bson import ObjectId

from ipam.allocation.requests import ReservationRequest
from ipam.models.addresses import Address
from ipam.models.documents import Job, JobState, Lease, Reservation, Subnet
from ipam.models.holdings import Holding, in_order, lease_id, stem_of
from ipam.models.ledgers import Grant

# So many addresses are told with the end of their job; more of them are read where they are stored.
_TOLD = 1000


def reservation_of(job: Job, holdings: tuple[Holding, ...], granted_at: datetime) -> Reservation:
    """The reservation of *job*, which was given *holdings*."""
    request = ReservationRequest.from_json(job.request)
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


def lease_of(grant: Grant, subnet: Subnet, address: Address, id_: ObjectId) -> Lease:
    """The lease of an *address* of *subnet* by *grant*."""
    return Lease(
        id=id_,
        reservation=grant.reservation,
        pool=subnet.pool,
        subnet=subnet.id,
        address=address,
        entry=grant.version,
        created_at=grant.at,
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
    return replace(ended, held=holdings_of(grants), held_since=granted_at(grants))


def holdings_of(grants: Mapping[ObjectId, Grant]) -> tuple[Holding, ...]:
    """What a reservation has by *grants*, which are by subnet."""
    return tuple(Holding(subnet, grant.addresses) for subnet, grant in grants.items())


def granted_at(grants: Mapping[ObjectId, Grant]) -> datetime:
    """When the addresses of *grants* were granted."""
    return min(grant.at for grant in grants.values())


def result_of(job: Job) -> tuple[Reservation, list[Lease]] | None:
    """The reservation and the leases of *job*, as they were at its end; None if that was not told with it."""
    if job.held is None or job.held_since is None:
        return None
    stem, since = stem_of(job.reservation), job.held_since
    places = ((holding.subnet, address) for holding in in_order(job.held) for address in holding.given)
    leases = [
        Lease(
            id=lease_id(stem, rank),
            subnet=subnet,
            pool=job.pool,
            reservation=job.reservation,
            address=address,
            entry=0,
            created_at=since,
        )
        for rank, (subnet, address) in enumerate(places)
    ]
    return reservation_of(job, job.held, since), leases
