"""A lease."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from bson import ObjectId

from ipam.models.addresses import Address, from_bytes
from ipam.models.document import Document
from ipam.models.fields import OBJECT_ID, TEXT, Access, Bson, Field, Stored, read_fields
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

    type_name: ClassVar[str] = "lease"
    # Kept, so that a worker that was asleep cannot hand the address out once more.
    tombstone: ClassVar[tuple[str, ...]] = ("subnet", "entry", "tidied", "outbox")

    id: Annotated[ObjectId, Field(Access.FIXED, OBJECT_ID, key="lease")]
    address: Annotated[Address, Field(Access.FIXED, TEXT, Stored.NEVER)]
    subnet: Annotated[ObjectId, Field(Access.FIXED, OBJECT_ID)]
    pool: Annotated[ObjectId, Field()]
    reservation: Annotated[ObjectId, Field(Access.FIXED, OBJECT_ID)]
    entry: Annotated[int, Field()]
    tidied: Annotated[int | None, Field(stored=Stored.APART)] = None

    def to_bson(self) -> Bson:
        """Return the stored form of a lease that is held."""
        return {**Document.to_bson(self), "_id": lease_key(self.subnet, self.address)}

    @classmethod
    def from_bson(cls, bson: Bson) -> Lease:
        """Return the held lease that was stored."""
        return cls(**read_fields(cls, bson), address=from_bytes(bson["_id"][12:]))
