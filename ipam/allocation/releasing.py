"""Giving addresses back: a whole reservation, or one lease of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial, reduce

from bson import ObjectId

from ipam.allocation.consulting import Consulting
from ipam.allocation.dispatcher import Dispatcher
from ipam.allocation.leasing import RELEASED_AT_ONCE, Leasing
from ipam.allocation.planning import enter_release
from ipam.allocation.settling import Settling
from ipam.errors import Contended, NotFound
from ipam.models.address_sets import AddressSet
from ipam.models.documents import Job, JobKind, Lease, Reservation, Subnet, SubnetState, utc_now
from ipam.models.leases import WITHOUT_REST
from ipam.models.ledgers import Release
from ipam.models.reservations import WantedRelease
from ipam.models.store import check_revision
from ipam.models.stores import Stores
from ipam.origins import Origin, current_origin
from ipam.retrying import retry_contended
from ipam.together import Together

# So many addresses go back while the caller waits; for more of them there is a job.
RELEASED_WITHOUT_JOB = WITHOUT_REST
# And those of so many reservations together; one with so many addresses alone, so that others do not wait for it.
_TOGETHER = 16
_ALONE_FROM = WITHOUT_REST // _TOGETHER


class Releasing:
    """Releases reservations and leases."""

    def __init__(
        self, stores: Stores, leasing: Leasing, settling: Settling, dispatcher: Dispatcher, consulting: Consulting
    ) -> None:
        self._stores = stores
        self._leasing = leasing
        self._settling = settling
        self._dispatcher = dispatcher
        self._consulting = consulting
        self._hide = Together(stores.reservations.begin_releases, _TOGETHER)
        self._give_back = Together(self._give_back_together, _TOGETHER)
        self._bury = Together(self._bury_together, _TOGETHER)

    def release_reservation(self, id_: ObjectId, revisions: frozenset[int] | None = None) -> Job | None:
        """Release a reservation with all its leases; the job that does it, if they are many.

        Raises:
            NotFound: If there is no such reservation.
            Stale: If its revision is not among *revisions*, None accepting any.
            Refused: If a hook does not allow it.
        """
        self._consulting.delete(self._stores.reservations, id_, revisions)
        hidden = self._hide(WantedRelease(id_, revisions))
        if isinstance(hidden, Exception):
            raise hidden
        return self.finish(hidden)

    def finish(self, reservation: Reservation) -> Job | None:
        """Carry the release of a hidden reservation to its end, or have it done by a job, which it returns.

        The job has the reservation's id: there is one, however often it is asked for.
        """
        if reservation.count > RELEASED_WITHOUT_JOB:
            return self._begin_job(reservation)
        position, _ = self._step(reservation, 0)
        while position is not None:
            self._stores.reservations.renew_release(reservation.id)
            position, _ = self._step(reservation, position)
        return None

    def go_on(self, job: Job, token: ObjectId) -> bool:
        """Carry out a part of *job*, which has the claim *token*; True if there is more to do.

        So many addresses go back in parts: that others get their turn, and whoever looks sees that it goes on.
        """
        reservation = self._stores.reservations.releasing(job.reservation)
        position, count = None, 0
        if reservation is not None:
            self._stores.reservations.renew_release(reservation.id)
            position, count = self._step(reservation, job.position)
        if position is None:
            self._stores.jobs.finish(job.id)
            return False
        self._stores.jobs.give_turn(replace(job, position=position, done=job.done + count), token)
        return True

    def _step(self, reservation: Reservation, position: int) -> tuple[int | None, int]:
        """Give back some of the addresses that a hidden *reservation* holds in its subnets from *position* on.

        Returns the position to go on from, None if that was all, and how many addresses went back.
        """
        given_back = 0
        is_alone = reservation.count >= _ALONE_FROM
        for index, subnet in enumerate(reservation.subnets[position:], position):
            if index > position:
                self._stores.reservations.renew_release(reservation.id)
            about = (subnet, reservation.id) if is_alone else subnet
            given_back += self._give_back((subnet, reservation.id, current_origin()), about)
            if given_back >= RELEASED_AT_ONCE:
                return index, given_back
        self._bury(reservation.id)
        return None, given_back

    def _begin_job(self, reservation: Reservation) -> Job:
        job = Job(
            id=reservation.id,
            kind=JobKind.RELEASE,
            target=reservation.id,
            pool=reservation.pool,
            subnet=reservation.subnet,
            request={"count": reservation.count},
            reservation=reservation.id,
        )
        self._stores.jobs.insert(job)
        self._dispatcher.dispatch(job.target)
        return job

    def release_lease(self, id_: ObjectId, revisions: frozenset[int] | None = None) -> None:
        """Give one address back; its reservation keeps the others.

        Raises:
            NotFound: If there is no such lease.
            Stale: If its revision is not among *revisions*, None accepting any.
            Refused: If a hook does not allow it.
        """
        self._consulting.delete(self._stores.leases, id_, revisions)
        retry_contended(lambda: self._give_back_one(id_, revisions))

    def _give_back_together(self, wanted: Sequence[tuple[ObjectId, ObjectId, Origin]]) -> list[int]:
        """Give addresses back of one subnet, each time named with a reservation and for whom; returns how many.

        If they are `RELEASED_AT_ONCE` there may be more.
        """
        subnet, origins = wanted[0][0], {reservation: origin for _, reservation, origin in wanted}
        given_back = retry_contended(partial(self._give_back_some, subnet, origins))
        return [given_back[reservation] for _, reservation, _ in wanted]

    def _bury_together(self, reservations: Sequence[ObjectId]) -> Sequence[ObjectId]:
        """End the releases of *reservations*, which hold nothing any more."""
        self._stores.reservations.finish_releases(reservations)
        return reservations

    def _give_back_some(self, subnet_id: ObjectId, origins: Mapping[ObjectId, Origin]) -> dict[ObjectId, int]:
        """Give some addresses of reservations back, with one write of the ledger; *origins* say for whom."""
        subnet = self._active(subnet_id)
        if subnet is None:
            return dict.fromkeys(origins, 0)
        releases: list[Release] = []
        for reservation, origin in origins.items():
            self._finish_pending(subnet, reservation)
            held = self._stores.leases.of_reservation(reservation, subnet.id, RELEASED_AT_ONCE)
            if held:
                releases.append(_release_of(held, origin, is_partial=False))
        if releases:
            self._begin(subnet, releases)
        return {**dict.fromkeys(origins, 0), **{one.reservation: len(one.addresses) for one in releases}}

    def _give_back_one(self, id_: ObjectId, revisions: frozenset[int] | None) -> None:
        # The ledger is read before the lease: then no release that ended in between goes unseen, for it would
        # have changed the version that the write below depends on.
        subnet = self._active(self._stores.leases.get(id_).subnet)
        lease = self._stores.leases.get(id_)
        if subnet is None or subnet.id != lease.subnet:
            raise NotFound(f"There is no lease {id_}.")
        check_revision("lease", lease.revision, revisions)
        self._finish_pending(subnet, lease.reservation)
        self._begin(subnet, [_release_of([lease], current_origin(), is_partial=True)])

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
            self._leasing.put_back(subnet.id, [release])
        if self._settling.finish_grants_of(subnet, reservation) or pending:
            raise Contended(f"Addresses of reservation {reservation} were on their way.")

    def _begin(self, subnet: Subnet, releases: Sequence[Release]) -> None:
        """Enter *releases* into the ledger, and carry them out."""
        seen = self._leasing.see(subnet.id, [release.addresses for release in releases])
        self._stores.subnets.change_ledger(subnet, reduce(enter_release, releases, subnet.ledger))
        self._leasing.put_back(subnet.id, releases, seen)


def _release_of(held: Sequence[Lease], origin: Origin, *, is_partial: bool) -> Release:
    """That the leases *held* of a reservation go back."""
    return Release(
        id=ObjectId(),
        reservation=held[0].reservation,
        addresses=AddressSet.of(lease.address for lease in held),
        is_partial=is_partial,
        at=utc_now(),
        origin=origin,
    )
