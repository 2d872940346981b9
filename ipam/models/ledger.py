"""The ledger of a subnet: the part of its document that says how much is taken and what is on its way."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from bson import ObjectId
from pyroaring import FrozenBitMap

from ipam.models.address_set import EMPTY, AddressSet, number_from_bytes, number_to_bytes
from ipam.models.addresses import ADDRESS_BYTES
from ipam.models.audit_context import AuditContext, current_audit_context

Bson = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """Addresses that were taken from a subnet for one job and are not handed out in full.

    Attributes:
        batch: None if it counts as it stands. For a job that may take from several subnets, the claim under which
            it was made: the job decides whether that counts.
        version: The ledger's version that it came with: a lease is handed out only by a grant that is younger than
            the one which handed it out before.
        at: When they were taken.
    """

    batch: ObjectId | None
    job: ObjectId
    reservation: ObjectId
    addresses: AddressSet
    version: int
    at: datetime

    def to_bson(self) -> Bson:
        """Return the stored form."""
        return {
            "batch": self.batch,
            "job": self.job,
            "reservation": self.reservation,
            "addresses": self.addresses.to_bson(),
            "version": self.version,
            "at": self.at,
        }

    @classmethod
    def from_bson(cls, bson: Bson) -> Grant:
        """Return the grant that was stored."""
        return cls(**{**bson, "addresses": AddressSet.from_bson(bson["addresses"])})


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """Addresses that a reservation gives back; they count as used until all of it is done.

    Attributes:
        is_partial: Whether the reservation keeps others.
        ends: Whether it has nothing left then, and its release is over.
        at: When it was begun.
        audit_context: That of the request.
    """

    id: ObjectId
    reservation: ObjectId
    addresses: AddressSet
    is_partial: bool
    at: datetime
    ends: bool = False
    audit_context: AuditContext = field(default_factory=current_audit_context)

    def to_bson(self) -> Bson:
        """Return the stored form."""
        return {
            "id": self.id,
            "reservation": self.reservation,
            "addresses": self.addresses.to_bson(),
            "is_partial": self.is_partial,
            "at": self.at,
            "ends": self.ends,
            "origin": self.audit_context.to_json(),
        }

    @classmethod
    def from_bson(cls, bson: Bson) -> Release:
        """Return the release that was stored."""
        rest = {name: value for name, value in bson.items() if name != "origin"}
        audit_context = AuditContext.from_json(bson.get("origin"))
        return cls(**{**rest, "addresses": AddressSet.from_bson(bson["addresses"]), "audit_context": audit_context})


@dataclass(frozen=True, slots=True, kw_only=True)
class Ledger:
    """The ledger of a subnet; changed only by writes that are conditional on `version`, or that let it grow.

    Attributes:
        version: Grows with every change.
        used: Addresses that are taken, those on their way out or back included.
        cursor: The address that was handed out last, as a number; None before the first.
        full: Runs of blocks in which nothing is free, as first and last block, which planners skip.
        grants: What was taken and is not handed out in full.
        releases: What was given back and is not free yet.
    """

    version: int = 0
    used: int = 0
    cursor: int | None = None
    full: tuple[tuple[int, int], ...] = ()
    grants: tuple[Grant, ...] = ()
    releases: tuple[Release, ...] = ()

    @property
    def entries(self) -> tuple[Grant | Release, ...]:
        """Everything that is on its way."""
        return (*self.grants, *self.releases)

    @property
    def granted(self) -> set[ObjectId]:
        """Jobs that have a grant which counts as it stands."""
        return {grant.job for grant in self.grants if grant.batch is None}

    def on_its_way(self, block: int) -> FrozenBitMap:
        """Return the positions of *block* that are not free, whatever the block itself says."""
        return EMPTY.union(*(entry.addresses.blocks.get(block, EMPTY) for entry in self.entries))

    def to_bson(self) -> Bson:
        """Return the stored form."""
        return {
            "version": self.version,
            "used": self.used,
            "cursor": None if self.cursor is None else self.cursor.to_bytes(ADDRESS_BYTES, "big"),
            "full": [[number_to_bytes(first), number_to_bytes(last)] for first, last in self.full],
            "grants": [grant.to_bson() for grant in self.grants],
            "releases": [release.to_bson() for release in self.releases],
        }

    @classmethod
    def from_bson(cls, bson: Bson) -> Ledger:
        """Return the ledger that was stored."""
        return cls(
            version=bson["version"],
            used=bson["used"],
            cursor=None if bson["cursor"] is None else int.from_bytes(bson["cursor"], "big"),
            full=tuple((number_from_bytes(first), number_from_bytes(last)) for first, last in bson["full"]),
            grants=tuple(map(Grant.from_bson, bson["grants"])),
            releases=tuple(map(Release.from_bson, bson["releases"])),
        )
