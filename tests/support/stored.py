"""What is stored, read past the stores that are tested."""

from bson import ObjectId
from pymongo import ASCENDING

from ipam.models.lease import Lease
from ipam.storage.stores import Stores


def leases_of(stores: Stores, reservation: ObjectId) -> list[Lease]:
    """The leases that *reservation* holds, by subnet, lowest address first."""
    found = stores.leases._collection.find({"reservation": reservation})  # noqa: SLF001
    return [Lease.from_bson(bson) for bson in found.sort("_id", ASCENDING)]
