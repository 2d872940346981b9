"""A pool."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from ipam.models.document import Bson, Document, common_from_bson, common_to_bson


class PoolState(StrEnum):
    """A pool is shown and used only while it is active; a deleted one stays for a while as a tombstone.

    The tombstone keeps a creation that is repeated, or was asleep for long, from bringing the pool back.
    """

    ACTIVE = "active"
    DELETING = "deleting"
    DELETED = "deleted"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool(Document):
    """A set of subnets that do not overlap; the stored `ranges` hold them apart."""

    def to_bson(self) -> Bson:
        """Return the stored form of a new pool."""
        return {"_id": self.id, **common_to_bson(self), "state": PoolState.ACTIVE.value, "ranges": []}

    @classmethod
    def from_bson(cls, bson: Bson) -> Pool:
        """Return the pool that was stored."""
        return cls(id=bson["_id"], **common_from_bson(bson))
