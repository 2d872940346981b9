"""Reservations."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from datetime import datetime
from typing import Any

from bson import ObjectId
from pymongo.database import Database

from ipam.errors import Contended
from ipam.models.connection import insert_missing, speaks_mongo
from ipam.models.documents import Bson, Reservation, ReservationState, utc_now
from ipam.models.store import DocumentStore, check_revision
from ipam.retrying import retry_contended


@speaks_mongo
class ReservationStore(DocumentStore[Reservation]):
    """The collection `reservations`."""

    kind = "reservation"
    visible = {"state": ReservationState.ACTIVE.value}

    def __init__(self, database: Database[Any]) -> None:
        super().__init__(database, Reservation.from_bson)

    def insert(self, reservations: Iterable[Reservation]) -> None:
        """Store new reservations; those that are there already, as tombstones perhaps, are left alone."""
        insert_missing(self._collection, [reservation.to_bson() for reservation in reservations])

    def insert_unwanted(self, reservation: Reservation) -> None:
        """Store a new reservation as one whose release was begun, unless it is there already."""
        hidden = replace(reservation, state=ReservationState.RELEASING)
        insert_missing(self._collection, [{**hidden.to_bson(), "unfinished": utc_now()}])

    def begin_release(self, id_: ObjectId, revisions: frozenset[int] | None) -> Reservation:
        """Hide the reservation; from here on its addresses will go back, whatever dies.

        Raises:
            NotFound: If there is no such reservation.
            Stale: If it has another revision than the caller accepts.
        """

        def attempt() -> Reservation:
            reservation = self.get(id_)
            check_revision(self.kind, reservation.revision, revisions)
            hidden = self._collection.update_one(
                {"_id": id_, **self.visible, "revision": reservation.revision},
                {"$set": {"state": ReservationState.RELEASING.value, "unfinished": utc_now()}},
            )
            if not hidden.modified_count:
                raise self._changed(id_)
            return reservation

        return retry_contended(attempt)

    def finish_release(self, ids: Iterable[ObjectId]) -> None:
        """Leave only tombstones of reservations that hold no lease any more."""
        self._collection.update_many({"_id": {"$in": list(ids)}}, _bury())

    def renew_release(self, id_: ObjectId) -> None:
        """Say that a release which was begun is being worked on."""
        self._collection.update_one(
            {"_id": id_, "unfinished": {"$exists": True}}, {"$set": {"unfinished": utc_now()}}
        )

    def take_over_release(self, before: datetime) -> Iterator[Reservation]:
        """Reservations whose release nobody has worked on since the time *before*: each for one caller only."""
        for bson in list(self._collection.find({"unfinished": {"$lt": before}})):
            taken = self._collection.update_one(
                {"_id": bson["_id"], "unfinished": bson["unfinished"]}, {"$set": {"unfinished": utc_now()}}
            )
            if taken.modified_count:
                yield Reservation.from_bson(bson)

    def of_subnet(self, subnet: ObjectId) -> list[Reservation]:
        """The reservations that hold, or held, addresses of *subnet*, those being released included."""
        return [Reservation.from_bson(bson) for bson in self._collection.find({"subnets": subnet})]

    def recount(self, id_: ObjectId, count: Callable[[], int], without: ObjectId | None = None) -> None:
        """Set how many addresses the reservation holds, and take the subnet *without* off its list.

        One that has no subnet any more is released. The revision is read before *count* is called and must be the
        same afterwards, so that of several recounts at once the last one written is the latest counted.
        """

        def attempt() -> None:
            found = self._collection.find_one({"_id": id_, **self.visible})
            if found is None:
                return
            counted = count()
            subnets = [subnet for subnet in found["subnets"] if subnet != without]
            if (counted, subnets) == (found["count"], found["subnets"]):
                return
            change: Bson = {
                "$set": {"count": counted, "subnets": subnets, "updated_at": utc_now()},
                "$inc": {"revision": 1},
            }
            written = self._collection.update_one(
                {"_id": id_, **self.visible, "revision": found["revision"]}, change if subnets else _bury()
            )
            if not written.modified_count:
                raise Contended(f"The reservation {id_} was changed by someone else.")

        retry_contended(attempt)


def _bury() -> Bson:
    return {
        "$set": {"state": ReservationState.RELEASED.value, "released_at": utc_now()},
        "$unset": dict.fromkeys(("unfinished", "facets", "metadata", "pool", "subnets", "tags"), 1),
    }
