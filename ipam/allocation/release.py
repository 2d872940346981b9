"""Giving addresses back: a whole reservation, or one lease of it."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial, reduce

from bson import ObjectId

from ipam.allocation.dispatcher import Dispatcher
from ipam.allocation.entry_applier import RELEASED_AT_ONCE, EntryApplier
from ipam.allocation.planner import enter_release
from ipam.allocation.roll_forward import RollForward
from ipam.allocation.subnet_closing import open_ledger
from ipam.errors import NotFound, WriteConflict
from ipam.hooks.admission import AdmissionController
from ipam.models.address_set import NO_ADDRESS, AddressSet
from ipam.models.audit_context import AuditContext, current_audit_context
from ipam.models.document import check_revision
from ipam.models.job import Job, JobKind
from ipam.models.ledger import Ledger, Release
from ipam.models.reservation import Reservation
from ipam.models.reserved_addresses import in_order
from ipam.storage.leases import WITHOUT_REST
from ipam.storage.reservations import WantedRelease
from ipam.storage.stores import Stores
from ipam.util.clock import utc_now
from ipam.util.coalescing import Coalescer
from ipam.util.retry import retry_on_conflict

# So many addresses go back while the caller waits; for more of them there is a job.
RELEASED_WITHOUT_JOB = WITHOUT_REST
# And those of so many reservations together; one with so many addresses alone, so that others do not wait for it.
_TOGETHER = 16
_ALONE_FROM = WITHOUT_REST // _TOGETHER


@dataclass(frozen=True, slots=True)
class ReleaseChunk:
    """Addresses of one subnet that go back together.

    Attributes:
        end: How many addresses the reservation was given up to here.
        ends: Whether it has no others, and gives them back at once.
        audit_context: That of the request.
    """

    subnet: ObjectId
    reservation: ObjectId
    addresses: AddressSet
    end: int
    ends: bool = False
    audit_context: AuditContext = field(default_factory=current_audit_context)


class Releaser:
    """Releases reservations and leases."""

    def __init__(
        self,
        stores: Stores,
        entry_applier: EntryApplier,
        roll_forward: RollForward,
        dispatcher: Dispatcher,
        admission: AdmissionController,
    ) -> None:
        self._stores = stores
        self._entry_applier = entry_applier
        self._roll_forward = roll_forward
        self._dispatcher = dispatcher
        self._admission = admission
        self._hide = Coalescer(self._hide_together, _TOGETHER)
        self._give_back = Coalescer(self._give_back_together, _TOGETHER)
        self._bury = Coalescer(self._bury_together, _TOGETHER)

    def release_reservation(self, id_: ObjectId, revisions: frozenset[int] | None = None) -> Job | None:
        """Release a reservation with all its leases; the job that does it, if they are many.

        Raises:
            NotFound: If there is no such reservation.
            Stale: If its revision is not among *revisions*, None accepting any.
            RejectedByHook: If a hook does not allow it.
        """

        def hide(accepted: frozenset[int] | None) -> Reservation:
            hidden = self._hide(WantedRelease(id_, accepted))
            if isinstance(hidden, Exception):
                raise hidden
            return hidden

        return self.finish(self._admission.review_deletion(self._stores.reservations, id_, revisions, hide))

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

        So many addresses go back in parts: so other targets get their turn, and progress is visible.
        """
        reservation = self._stores.reservations.releasing([job.reservation]).get(job.reservation)
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
        """Give back some of the addresses of a hidden *reservation*, from the *position*th on.

        Returns the position to go on from, None if that was all, and how many addresses went back.
        """
        given_back = 0
        is_alone = reservation.count >= _ALONE_FROM
        ahead = (part for part in chunks_of(reservation) if part.end > position)
        for index, part in enumerate(ahead):
            if index:
                self._stores.reservations.renew_release(reservation.id)
            about = (part.subnet, reservation.id) if is_alone else part.subnet
            given_back += self._give_back(part, about)
            if given_back >= RELEASED_AT_ONCE:
                return part.end, given_back
        if not (reservation.at_once and given_back):  # Else it is over already.
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
            RejectedByHook: If a hook does not allow it.
        """

        def give_back(accepted: frozenset[int] | None) -> None:
            retry_on_conflict(lambda: self._give_back_one(id_, accepted))

        self._admission.review_deletion(self._stores.leases, id_, revisions, give_back)

    def _hide_together(self, wanted: Sequence[WantedRelease]) -> Sequence[Reservation | Exception]:
        return self._stores.reservations.begin_releases(wanted, min(RELEASED_WITHOUT_JOB, RELEASED_AT_ONCE))

    def _give_back_together(self, wanted: Sequence[ReleaseChunk]) -> list[int]:
        """Give parts of one subnet back; returns how many addresses the reservation of each gave back.

        Of one reservation there are several if it is released twice at the same moment.
        """
        parts: dict[ObjectId, ReleaseChunk] = {}
        for part in wanted:
            known = parts.get(part.reservation, part)
            parts[part.reservation] = replace(part, addresses=known.addresses | part.addresses)
        given_back = retry_on_conflict(partial(self._give_back_some, wanted[0].subnet, parts))
        return [given_back[part.reservation] for part in wanted]

    def _bury_together(self, reservations: Sequence[ObjectId]) -> Sequence[ObjectId]:
        """End the releases of *reservations*, which hold nothing any more."""
        self._stores.writer.write([self._stores.reservations.burial(reservations)])
        return reservations

    def _give_back_some(self, subnet_id: ObjectId, parts: Mapping[ObjectId, ReleaseChunk]) -> dict[ObjectId, int]:
        """Give back what reservations hold of *parts*, with one write of the ledger."""
        ledger = self._open(subnet_id)
        if ledger is None:
            return dict.fromkeys(parts, 0)
        for reservation in parts:
            self._finish_pending(ledger, reservation)
        held = self._held(subnet_id, parts.values())
        releases = [
            _release(part.reservation, held[part.reservation], part.audit_context, ends=part.ends)
            for part in parts.values()
            if held[part.reservation]
        ]
        if releases:
            self._begin(ledger, releases)
        return {reservation: len(addresses) for reservation, addresses in held.items()}

    def _held(self, subnet: ObjectId, parts: Collection[ReleaseChunk]) -> dict[ObjectId, AddressSet]:
        """Return what reservations have of *parts* still, of which nothing is on its way in the ledger.

        One that gives all back at once has what it says, until it says that its release is over. Of others the
        leases are looked at: some may be back.
        """
        at_once = self._stores.reservations.releasing([part.reservation for part in parts if part.ends])
        left = {id_: dict(one.left).get(subnet, NO_ADDRESS) for id_, one in at_once.items()}
        given = {part.reservation: part.addresses for part in parts if not part.ends}
        nothing = dict.fromkeys((part.reservation for part in parts), NO_ADDRESS)
        return {**nothing, **left, **self._stores.leases.still_held(subnet, given)}

    def _give_back_one(self, id_: ObjectId, revisions: frozenset[int] | None) -> None:
        # The ledger is read before the lease: then no release that ended in between goes unseen, for it would
        # have changed the version that the write below depends on.
        ledger = self._open(self._stores.leases.get(id_).subnet)
        lease = self._stores.leases.get(id_)
        if ledger is None or ledger.id != lease.subnet:
            raise NotFound(f"There is no lease {id_}.")
        check_revision("lease", lease.revision, revisions)
        self._finish_pending(ledger, lease.reservation)
        alone = AddressSet.of([lease.address])
        self._begin(ledger, [_release(lease.reservation, alone, current_audit_context(), is_partial=True)])

    def _open(self, subnet: ObjectId) -> Ledger | None:
        """Return the ledger of a subnet; None if that is being deleted, which takes its leases with it."""
        return open_ledger(self._stores, subnet, self._stores.ledgers.find(subnet))

    def _finish_pending(self, ledger: Ledger, reservation: ObjectId) -> None:
        """End what else is on its way in *ledger* to *reservation* or back.

        So no lease is given back twice, no block marks as taken what is given back already, and no reservation is
        stored with a count that knows nothing of it.

        Raises:
            WriteConflict: If there was anything: what was read is not true any more.
        """
        pending = [release for release in ledger.releases if release.reservation == reservation]
        for release in pending:
            self._entry_applier.put_back(ledger.id, [release])
        if self._roll_forward.finish_grants_of(ledger, reservation) or pending:
            raise WriteConflict(f"Addresses of reservation {reservation} were on their way.")

    def _begin(self, ledger: Ledger, releases: Sequence[Release]) -> None:
        """Enter *releases* into *ledger*, and carry them out."""
        seen = self._entry_applier.see(ledger.id, [release.addresses for release in releases])
        self._stores.ledgers.write(reduce(enter_release, releases, ledger))
        self._entry_applier.put_back(ledger.id, releases, seen)


def chunks_of(reservation: Reservation) -> Iterator[ReleaseChunk]:
    """Yield what a hidden *reservation* may hold still, in the parts in which it goes back, the same each time."""
    if reservation.at_once:
        for subnet, addresses in reservation.left:
            yield ReleaseChunk(subnet, reservation.id, addresses, len(addresses), ends=True)
        return
    end = 0
    for holding in in_order(reservation.holdings):
        for some in holding.given.parts(RELEASED_AT_ONCE):
            end += len(some)
            if holding.subnet in reservation.subnets:
                yield ReleaseChunk(holding.subnet, reservation.id, some, end)


def _release(
    reservation: ObjectId,
    addresses: AddressSet,
    audit_context: AuditContext,
    *,
    is_partial: bool = False,
    ends: bool = False,
) -> Release:
    """Return the ledger entry by which a reservation gives *addresses* back."""
    return Release(
        id=ObjectId(),
        reservation=reservation,
        addresses=addresses,
        is_partial=is_partial,
        ends=ends,
        at=utc_now(),
        audit_context=audit_context,
    )
