"""Writing leases for what a ledger says is on its way; every step may be done twice, by anyone, at any time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from bson import ObjectId

from ipam.allocation.ranges import Space, parse_exclusion
from ipam.models.addresses import Address
from ipam.models.documents import Lease, Subnet
from ipam.models.ledgers import Grant, Release
from ipam.models.stores import Stores

# Positions of the queue that one read asks for: few for the usual single address, more when the queue has gaps.
_WINDOW_FIRST = 16
_WINDOW_LARGEST = 4096


def space_of(subnet: Subnet) -> Space:
    """The addresses that *subnet* may hand out: its range without the exclusions and the gateway."""
    excluded = [parse_exclusion(text, f"/exclusions/{index}") for index, text in enumerate(subnet.exclusions)]
    if subnet.gateway is not None:
        excluded.append((subnet.gateway, subnet.gateway))
    return Space.of(subnet.start, subnet.end, excluded)


class Leasing:
    """Carries out grants and releases."""

    def __init__(self, stores: Stores) -> None:
        self._stores = stores

    def queued(self, subnet: Subnet, needed: int) -> list[int]:
        """Up to *needed* positions of the queue that hold a released lease, from the head on."""
        found: list[int] = []
        position, ready, window = subnet.ledger.head, subnet.ledger.ready, max(needed, _WINDOW_FIRST)
        while len(found) < needed and position < ready:
            end = min(position + min(window, _WINDOW_LARGEST), ready)
            found += sorted(self._stores.leases.queued(subnet.id, range(position, end)))
            position, window = end, window * 4
        return found[:needed]

    def hand_out(self, subnet: Subnet, grants: Iterable[Grant]) -> None:
        """Write the leases of *grants*, which must be decided.

        A lease that was written before is left alone, even when it was given back since: a new one is only
        inserted, a recycled one only taken from its place in the queue, and neither can happen a second time.
        """
        space = space_of(subnet)
        fresh: list[Lease] = []
        recycled: dict[int, Lease] = {}
        for grant in grants:
            addresses = _addresses(space, grant)
            for ordinal, address in enumerate(addresses):
                fresh.append(_lease(subnet, grant.reservation, address, ordinal))
            places = self._stores.leases.queued(subnet.id, range(*grant.recycled))
            for position, address in places.items():
                ordinal = grant.fresh_count + position - grant.recycled[0]
                recycled[position] = _lease(subnet, grant.reservation, address, ordinal)
        self._stores.leases.insert(fresh)
        self._stores.leases.take_queued(recycled)

    def put_back(self, subnet: Subnet, release: Release) -> None:
        """Give the addresses of *release* back and strike it out."""
        if release.grant is not None:
            self._requeue(subnet, release.grant, release.first)
        else:
            self._stores.leases.put_back(self._places(subnet.id, release))
        if release.lease is not None:
            reservation = release.reservation
            self._stores.reservations.recount(
                reservation, lambda: self._stores.leases.count_of_reservation(reservation)
            )
        self._stores.subnets.finish_release(subnet.id, release)

    def _places(self, subnet: ObjectId, release: Release) -> Mapping[int, Lease]:
        """The position in the queue for each lease that is still to be given back."""
        held = self._stores.leases.of_reservation(release.reservation, subnet)
        if release.lease is not None:
            alone = (lease for lease in held if lease.id == release.lease)
            return {release.first + n: lease for n, lease in enumerate(alone)}
        return {release.first + lease.ordinal: lease for lease in held}

    def _requeue(self, subnet: Subnet, grant: Grant, first: int) -> None:
        """Put the addresses of a grant that no job wants behind the queue, from position *first* on."""
        addresses = _addresses(space_of(subnet), grant)
        self._stores.leases.insert_queued(subnet.id, {address: first + n for n, address in enumerate(addresses)})
        offset = first + grant.fresh_count - grant.recycled[0]
        self._stores.leases.move_queued(
            subnet.id, {position: position + offset for position in range(*grant.recycled)}
        )


def _addresses(space: Space, grant: Grant) -> Iterator[Address]:
    """The never-used addresses of *grant*, in order."""
    for offset, count in grant.fresh:
        for step in range(count):
            yield space.address(offset + step)


def _lease(subnet: Subnet, reservation: ObjectId, address: Address, ordinal: int) -> Lease:
    return Lease(
        id=ObjectId(),
        subnet=subnet.id,
        pool=subnet.pool,
        reservation=reservation,
        address=address,
        ordinal=ordinal,
    )
