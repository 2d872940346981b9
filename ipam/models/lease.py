"""A lease."""

from __future__ import annotations

from dataclasses import dataclass

from bson import ObjectId

from ipam.models.addresses import Address, from_bytes
from ipam.models.document import Bson, Document, common_from_bson, common_to_bson
from ipam.models.reserved_addresses import lease_key


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease(Document):
    """An address that a reservation holds.

    The stored document stays when the address is given back, so that a worker that slept cannot hand it out once
    more; its `id` does not, so that a client with an old id cannot touch the address's next holder.

    Attributes:
        entry: Version of the ledger's entry that handed it out.
        tidied: How often its mark was tidied; None if never. Updates of the lease require that it was not since.
    """

    subnet: ObjectId
    pool: ObjectId
    reservation: ObjectId
    address: Address
    entry: int
    tidied: int | None = None

    def to_bson(self) -> Bson:
        """Return the stored form of a lease that is held."""
        return {
            "_id": lease_key(self.subnet, self.address),
            "lease": self.id,
            **common_to_bson(self),
            "subnet": self.subnet,
            "pool": self.pool,
            "reservation": self.reservation,
            "entry": self.entry,
        }

    @classmethod
    def from_bson(cls, bson: Bson) -> Lease:
        """Return the held lease that was stored."""
        return cls(
            id=bson["lease"],
            **common_from_bson(bson),
            subnet=bson["subnet"],
            pool=bson["pool"],
            reservation=bson["reservation"],
            address=from_bytes(bson["_id"][12:]),
            entry=bson["entry"],
            tidied=bson.get("tidied"),
        )
