"""A pool."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar

from ipam.models.document import Document
from ipam.models.fields import Bson


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

    type_name: ClassVar[str] = "pool"
    joined: ClassVar[tuple[str, ...]] = ("subnets", "size", "used", "free")

    def to_bson(self) -> Bson:
        """Return the stored form of a new pool."""
        return {**Document.to_bson(self), "state": PoolState.ACTIVE.value, "ranges": []}
