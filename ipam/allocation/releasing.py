"""Giving addresses back: a whole reservation, or one lease of it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from bson import ObjectId

from ipam.allocation.leasing import RELEASED_AT_ONCE, Leasing
from ipam.allocation.planning import enter_release
from ipam.allocation.settling import Settling
from ipam.errors import Contended, NotFound
from ipam.models.address_sets import AddressSet
from ipam.models.documents import Lease, Reservation, Subnet, SubnetState, utc_now
from ipam.models.ledgers import Release
from ipam.models.store import check_revision
from ipam.models.stores import Stores
from ipam.retrying import retry_contended


class Releasing:
    """Releases reservations and leases."""

    def __init__(self, stores: Stores, leasing: Leasing, settling: Settling) -> None:
        self._stores = stores
        self._leasing = leasing
        self._settling = settling

    def release_reservation(self, id_: ObjectId, revisions: frozenset[int] | None = None) -> None:
        """Release a reservation with all its leases.

        Raises:
            NotFound: If there is no such reservation.
            Stale: If its revision is not among *revisions*, None accepting any.
        """
        self.finish(self._stores.reservations.begin_release(id_, revisions))

    def finish(self, reservation: Reservation) -> None:
        """Carry the release of a hidden reservation to its end.

        Many addresses go back in batches: so that others get their turn, and whoever looks sees that it goes on.
        """
        for index, subnet in enumerate(reservation.subnets):
            if index:
                self._stores.reservations.renew_release(reservation.id)
            give_back = partial(self._give_back_some, subnet, reservation.id)
            while retry_contended(give_back):
                self._stores.reservations.renew_release(reservation.id)
        self._stores.reservations.finish_release(reservation.id)

    def release_lease(self, id_: ObjectId, revisions: frozenset[int] | None = None) -> None:
        """Give one address back; its reservation keeps the others.

        Raises:
            NotFound: If there is no such lease.
            Stale: If its revision is not among *revisions*, None accepting any.
        """
        retry_contended(lambda: self._give_back_one(id_, revisions))

    def _give_back_some(self, subnet_id: ObjectId, reservation: ObjectId) -> bool:
        """Give a batch back; True if there may be more."""
        subnet = self._active(subnet_id)
        if subnet is None:
            return False
        self._finish_pending(subnet, reservation)
        held = self._stores.leases.of_reservation(reservation, subnet.id, RELEASED_AT_ONCE)
        if held:
            self._begin(subnet, held, reservation, is_partial=False)
        return len(held) == RELEASED_AT_ONCE

    def _give_back_one(self, id_: ObjectId, revisions: frozenset[int] | None) -> None:
        # The ledger is read before the lease: then no release that ended in between goes unseen, for it would
        # have changed the version that the write below depends on.
        subnet = self._active(self._stores.leases.get(id_).subnet)
        lease = self._stores.leases.get(id_)
        if subnet is None or subnet.id != lease.subnet:
            raise NotFound(f"There is no lease {id_}.")
        check_revision("lease", lease.revision, revisions)
        self._finish_pending(subnet, lease.reservation)
        self._begin(subnet, [lease], lease.reservation, is_partial=True)

    def _active(self, subnet_id: ObjectId) -> Subnet | None:
        """The subnet, None when it is on its way out: then its deletion takes the leases with it."""
        subnet = self._stores.subnets.find(subnet_id)
        return subnet if subnet and subnet.state is SubnetState.ACTIVE else None

    def _finish_pending(self, subnet: Subnet, reservation: ObjectId) -> None:
        """End what else is on its way from *subnet* to *reservation* or back.

        So no lease is given back twice, no block marks as taken what is given back already, and no reservation is
        stored with a count that knows nothing of it.

        Raises:
            Contended: If there was anything: what was read is not true any more.
        """
        pending = [release for release in subnet.ledger.releases if release.reservation == reservation]
        for release in pending:
            self._leasing.put_back(subnet.id, release)
        if self._settling.finish_grants_of(subnet, reservation) or pending:
            raise Contended(f"Addresses of reservation {reservation} were on their way.")

    def _begin(self, subnet: Subnet, held: Sequence[Lease], reservation: ObjectId, *, is_partial: bool) -> None:
        release = Release(
            id=ObjectId(),
            reservation=reservation,
            addresses=AddressSet.of(lease.address for lease in held),
            is_partial=is_partial,
            at=utc_now(),
        )
        seen = self._leasing.see(subnet.id, release.addresses)
        self._stores.subnets.change_ledger(subnet, enter_release(subnet.ledger, release))
        self._leasing.put_back(subnet.id, release, seen)
