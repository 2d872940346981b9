"""Derivation of a job's reservation and leases: deterministic, so that any worker can make them again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import datetime

from bson import ObjectId

from ipam.models.fields import Bson, Json
from ipam.models.job import Job, JobState
from ipam.models.lease import Lease
from ipam.models.ledger import Grant, Ledger
from ipam.models.reservation import Reservation
from ipam.models.reservation_request import ReservationRequest
from ipam.models.reserved_addresses import SubnetAddresses, in_order, lease_id, lease_key, stem_of

# So many addresses are told with the end of their job, as many as a batch has; more are read where they are stored.
_TOLD = 4096


def reservation_of(job: Job, holdings: tuple[SubnetAddresses, ...], granted_at: datetime) -> Reservation:
    """Return the reservation of *job*, which was given *holdings*."""
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


def leases_of(grant: Grant, ledger: Ledger, rank: int) -> Iterator[Bson]:
    """Yield the stored forms of the leases by *grant*, lowest address first.

    Args:
        grant: Which counts.
        ledger: In which it stands.
        rank: That of the first of its addresses among all that its reservation is given.

    They are alike as long as nothing is written on them, so one is made and the others are copies.
    """
    stem = stem_of(grant.reservation)
    like = Lease(
        id=lease_id(stem, rank),
        reservation=grant.reservation,
        pool=ledger.pool,
        subnet=ledger.id,
        address=ledger.start,
        entry=grant.version,
        created_at=grant.at,
    ).to_bson()
    for number, address in enumerate(grant.addresses, rank):
        yield {**like, "_id": lease_key(ledger.id, address), "lease": lease_id(stem, number)}


def succeeded(job: Job, grants: Mapping[ObjectId, Grant], now: datetime) -> Job:
    """Return *job* as it ends *now* by *grants*, by subnet, with what it has come to if that is little.

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


def holdings_of(grants: Mapping[ObjectId, Grant]) -> tuple[SubnetAddresses, ...]:
    """Return what a reservation has by *grants*, which are by subnet."""
    return tuple(SubnetAddresses(subnet, grant.addresses) for subnet, grant in grants.items())


def granted_at(grants: Mapping[ObjectId, Grant]) -> datetime:
    """When the addresses of *grants* were granted."""
    return min(grant.at for grant in grants.values())


def result_of(job: Job) -> tuple[Reservation, list[Json]] | None:
    """Return the reservation of *job* and the JSON of its leases, at its end; None if that was not told with it.

    Of its leases, too, one is made and the others are like it.
    """
    if job.held is None or job.held_since is None:
        return None
    held = in_order(job.held)
    stem, first = stem_of(job.reservation), next(iter(held[0].given))
    like = Lease(
        id=lease_id(stem, 0),
        subnet=held[0].subnet,
        pool=job.pool,
        reservation=job.reservation,
        address=first,
        entry=0,
        created_at=job.held_since,
    ).to_json()
    places = ((str(holding.subnet), str(address)) for holding in held for address in holding.given)
    leases = [
        {**like, "id": str(lease_id(stem, rank)), "subnet": subnet, "address": address}
        for rank, (subnet, address) in enumerate(places)
    ]
    return reservation_of(job, job.held, job.held_since), leases
