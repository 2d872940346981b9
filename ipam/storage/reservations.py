"""Reservations."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from bson import ObjectId
from pymongo import UpdateOne
from pymongo.database import Database

from ipam.errors import NotFound, Stale, WriteConflict
from ipam.models import event_factory
from ipam.models.address_set import AddressSet
from ipam.models.audit_context import AuditContext, current_audit_context, use_audit_context
from ipam.models.document import check_revision, succeeded_by
from ipam.models.event import Event
from ipam.models.fields import Bson
from ipam.models.reservation import Reservation, ReservationState
from ipam.models.search_keys import KEEP_TOMBSTONES, UNFINISHED, expiry_keys, search_keys
from ipam.storage.bulk_writes import Writes
from ipam.storage.connection import among, insert_missing, speaks_mongo
from ipam.storage.document_store import DocumentStore, moved_on
from ipam.storage.outbox import telling, telling_new
from ipam.storage.query import Query
from ipam.storage.time_span import Span
from ipam.util.clock import utc_now
from ipam.util.retry import retry_on_conflict

# What a tombstone does not keep.
_DROPPED = dict.fromkeys(sorted(Reservation.dropped_keys()), 1)
# What changes when it comes to hold less.
_HOLDING = ("count", "holdings", "subnets")


@dataclass(frozen=True, slots=True)
class WantedRelease:
    """A wish to release a reservation, if its revision is one of *revisions*, None meaning any."""

    reservation: ObjectId
    revisions: frozenset[int] | None = None
    audit_context: AuditContext = field(default_factory=current_audit_context)


@speaks_mongo
class ReservationStore(DocumentStore[Reservation]):
    """The collection `reservations`."""

    kind = Reservation.type_name
    unlisted = ("outbox", "holdings")
    visible = {"state": ReservationState.ACTIVE.value}

    def __init__(self, database: Database[Any]) -> None:
        super().__init__(database, Reservation.from_bson)

    def insertion(self, reservations: Iterable[Reservation]) -> Writes:
        """Return the inserts of new reservations; existing documents, tombstones among them, stay."""
        return Writes("reservations", inserts=[reservation.to_bson() for reservation in reservations])

    def insert_unwanted(self, reservation: Reservation) -> None:
        """Store a new reservation as one whose release was begun, unless it is there already."""
        hidden = succeeded_by(reservation, state=ReservationState.RELEASING)
        bson = hidden.to_bson()
        bson |= {"unfinished": utc_now(), "keys": search_keys(*bson["keys"], UNFINISHED)}
        insert_missing(self._collection, [telling_new(bson, event_factory.deleted(hidden))])

    def begin_releases(
        self, wanted: Sequence[WantedRelease], at_once: int = 0
    ) -> list[Reservation | NotFound | Stale | WriteConflict]:
        """Hide reservations; from here on their addresses will go back, whatever dies.

        Two calls serve all of them, unless some are changed meanwhile. Two wishes for the same reservation may both
        get it, also in two processes: to carry out a release twice does no harm.

        Args:
            wanted: Which reservations.
            at_once: Up to so many addresses of one subnet go back with one entry in its ledger.

        Returns:
            For each of *wanted* the reservation as it was, or the error that says why it cannot be released.
        """
        outcomes: dict[int, Reservation | NotFound | Stale | WriteConflict] = {}

        def attempt() -> None:
            left = {place: one for place, one in enumerate(wanted) if place not in outcomes}
            found = self.get_many(one.reservation for one in left.values())
            contexts: dict[ObjectId, AuditContext] = {}
            for place, one in left.items():
                try:
                    self._check(one, found)
                except (NotFound, Stale) as error:
                    outcomes[place] = error
                else:
                    contexts[one.reservation] = one.audit_context
            hidden = self._hide([(found[id_], context) for id_, context in contexts.items()], at_once)
            outcomes.update(
                (place, hidden[one.reservation])
                for place, one in left.items()
                if place not in outcomes and one.reservation in hidden
            )
            if changed := contexts.keys() - hidden.keys():
                raise self._changed(min(changed))

        try:
            retry_on_conflict(attempt)
        except WriteConflict as error:
            return [outcomes.get(place, error) for place in range(len(wanted))]
        return [outcomes[place] for place in range(len(wanted))]

    def _check(self, wanted: WantedRelease, found: Mapping[ObjectId, Reservation]) -> None:
        if wanted.reservation not in found:
            raise self.missing(wanted.reservation)
        check_revision(self.kind, found[wanted.reservation].revision, wanted.revisions)

    def _hide(
        self, reservations: Sequence[tuple[Reservation, AuditContext]], at_once: int
    ) -> dict[ObjectId, Reservation]:
        """Hide those of *reservations* that have not changed, in one write, each with its audit context.

        Returns them by id, as they were, but for `at_once`.
        """
        updates: list[UpdateOne] = []
        events: dict[ObjectId, Event] = {}
        hidden: dict[ObjectId, Reservation] = {}
        for old, audit_context in reservations:
            new = succeeded_by(old, at_once=len(old.subnets) == 1 and old.count <= at_once)
            fields = {
                "state": ReservationState.RELEASING.value,
                "unfinished": utc_now(),
                "at_once": new.at_once,
            }
            hidden[old.id] = replace(old, at_once=new.at_once)
            with use_audit_context(audit_context):
                events[old.id] = event_factory.deleted(new)
            unchanged = {"_id": old.id, **self.visible, "revision": old.revision}
            change = {**moved_on(new, **fields), "$addToSet": {"keys": UNFINISHED}}
            updates.append(UpdateOne(unchanged, telling(change, events[old.id])))
        written = self._collection.bulk_write(updates, ordered=False).modified_count if updates else 0
        if not written:
            return {}
        if written < len(updates):
            after = self._collection.find({"_id": among(list(hidden))}, {"state": 1})
            still_seen = {bson["_id"] for bson in after if self._is_visible(bson)}
            hidden = {id_: old for id_, old in hidden.items() if id_ not in still_seen}
        self._tell_of((old, events[id_]) for id_, old in hidden.items())
        return hidden

    def burial(self, ids: Sequence[ObjectId]) -> Writes:
        """Return how only tombstones are left of reservations that hold no lease any more."""
        buried = {"$set": _buried(), "$unset": _DROPPED}
        return Writes("reservations", updates=[({"_id": among(ids)}, buried)] if ids else [])

    def renew_release(self, id_: ObjectId) -> None:
        """Say that a release which was begun is being worked on."""
        self._collection.update_one(
            {"_id": id_, "unfinished": {"$exists": True}}, {"$set": {"unfinished": utc_now()}}
        )

    def take_over_release(self, recent: Span) -> Iterator[Reservation]:
        """Yield reservations whose release stopped before the span *recent*, each to one caller only."""
        left = {"keys": UNFINISHED, "unfinished": recent.outside()}
        for unchanged in list(self._collection.find(left, {"unfinished": 1})):
            taken = self._collection.update_one(unchanged, {"$set": {"unfinished": utc_now()}}).modified_count
            if taken:  # A slow process may have ended it since.
                yield from self.releasing([unchanged["_id"]]).values()

    def releasing(self, ids: Sequence[ObjectId]) -> dict[ObjectId, Reservation]:
        """Return those of *ids* whose release was begun and is not over."""
        found = self._collection.find({"_id": among(ids)}) if ids else ()
        return {bson["_id"]: Reservation.from_bson(bson) for bson in found if "unfinished" in bson}

    def of_subnet(self, subnet: ObjectId, limit: int) -> list[Reservation]:
        """Up to *limit* of the reservations that hold addresses of *subnet*, in no order."""
        wanted = self._filter(Query().where(subnets=subnet))
        found = self._collection.find(wanted).limit(limit).batch_size(limit)
        return [Reservation.from_bson(bson) for bson in found]

    def _filter(self, query: Query) -> Bson:
        """By the key of what they are of, if that is asked for; the subnet says more than its pool."""
        wanted = super()._filter(query)
        owner = wanted.get("subnets", wanted.get("pool"))
        return wanted if owner is None else {"keys": owner, **wanted}

    def give_back(self, id_: ObjectId, subnet: ObjectId, addresses: AddressSet) -> None:
        """Say that the reservation has given back *addresses* of *subnet*; to do it again changes nothing.

        One that has no other is released. Of one whose release was begun as well: what it has then is what goes
        back.
        """
        self._hold(id_, lambda old: old.less(subnet, addresses))

    def leave(self, id_: ObjectId, subnet: ObjectId) -> None:
        """Take *subnet* off the reservation, with all that it has of it; one that has no other is released."""
        self._hold(id_, lambda old: old.without(subnet))

    def _hold(self, id_: ObjectId, change: Callable[[Reservation], Reservation]) -> None:
        """Have the reservation hold what it has after *change*."""

        def attempt() -> None:
            bson = self._collection.find_one({"_id": id_})
            if bson is None or "holdings" not in bson:
                return
            old = Reservation.from_bson(bson)
            if (wanted := change(old)) == old:
                return
            bson_wanted = wanted.to_bson()
            changed = {name: bson_wanted[name] for name in _HOLDING}
            if old.state is ReservationState.RELEASING:
                unchanged = {"_id": id_, "state": old.state.value, **{name: bson[name] for name in _HOLDING}}
                if not self._collection.update_one(unchanged, {"$set": changed}).modified_count:
                    raise self._changed(id_)
                return
            if wanted.count:
                new = succeeded_by(wanted)
                update, event = moved_on(new, **changed, keys=bson_wanted["keys"]), event_factory.updated(new, old)
            else:
                new = succeeded_by(wanted if wanted.subnets else old)
                update, event = {**moved_on(new, **_buried()), "$unset": _DROPPED}, event_factory.deleted(new)
            written = self._collection.update_one(
                {"_id": id_, **self.visible, "revision": old.revision}, telling(update, event)
            )
            if not written.modified_count:
                raise self._changed(id_)
            self._tell(old, event)

        retry_on_conflict(attempt)


def _buried() -> Bson:
    return {"state": ReservationState.RELEASED.value, "keys": expiry_keys(utc_now() + KEEP_TOMBSTONES)}
