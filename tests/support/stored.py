"""What is stored, read past the stores that are tested, or brought about by them."""

from bson import ObjectId
from pymongo import ASCENDING

from ipam.models.lease import Lease
from ipam.models.reservation import Reservation
from ipam.storage.reservations import WantedRelease
from ipam.storage.stores import Stores


def leases_of(stores: Stores, reservation: ObjectId) -> list[Lease]:
    """The leases that *reservation* holds, by subnet, lowest address first."""
    found = stores.leases._collection.find({"reservation": reservation})  # noqa: SLF001
    return [Lease.from_bson(bson) for bson in found.sort("_id", ASCENDING)]


def begin_release(stores: Stores, reservation: ObjectId, at_once: int = 0) -> Reservation:
    """Hide a reservation, as the first step of its release; returns it as it was."""
    (hidden,) = stores.reservations.begin_releases([WantedRelease(reservation)], at_once)
    assert isinstance(hidden, Reservation), hidden
    return hidden
