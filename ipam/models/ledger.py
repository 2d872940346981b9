"""The ledger of a subnet: how much of its range is taken, and what is on its way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Annotated

from bson import ObjectId
from pyroaring import FrozenBitMap

from ipam.models.address_set import EMPTY, AddressSet, number_from_bytes, number_to_bytes
from ipam.models.address_space import AddressSpace
from ipam.models.addresses import ADDRESS_BYTES, Address
from ipam.models.audit_context import AuditContext, current_audit_context
from ipam.models.fields import (
    ADDRESS,
    LARGE_INTEGER,
    PLACE,
    TEXTS,
    Bson,
    Codec,
    Field,
    Stored,
    enumeration,
    read_fields,
    stored_fields,
)
from ipam.models.subnet import Strategy, Subnet
from ipam.util.clock import utc_now


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


def _runs_to_bson(runs: Sequence[tuple[int, int]]) -> list[list[bytes]]:
    return [[number_to_bytes(first), number_to_bytes(last)] for first, last in runs]


def _runs_from_bson(runs: Sequence[Sequence[bytes]]) -> tuple[tuple[int, int], ...]:
    return tuple((number_from_bytes(first), number_from_bytes(last)) for first, last in runs)


def _each(kind: type[Grant | Release]) -> Codec:
    """Return the codec of a tuple of entries of one *kind*."""
    return Codec(lambda some: [one.to_bson() for one in some], lambda stored: tuple(map(kind.from_bson, stored)))


_NUMBER = Codec(lambda number: number.to_bytes(ADDRESS_BYTES, "big"), lambda stored: int.from_bytes(stored, "big"))
_RUNS = Codec(_runs_to_bson, _runs_from_bson)
# What changes when addresses are taken or given back.
_CHANGING = ("version", "unfinished", "used", "cursor", "full", "grants", "releases")


class LedgerState(StrEnum):
    """Addresses are taken and given back while a ledger is open: after its subnet is shown, before it is hidden."""

    OPEN = "open"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ledger:
    """The ledger of a subnet, with what of the subnet it takes to hand out addresses.

    It is written with every batch of requests, and so apart from what users write. It changes only by writes that
    are conditional on `version`, or that let it grow.

    Attributes:
        id: That of the subnet.
        size: How many addresses the subnet can give out.
        unfinished: Since when something goes on that recovery would have to finish: it is closed and its subnet not
            deleted, or has entries. None if nothing does; one that has come to rest may still have it for a while.
        version: Grows with every change.
        used: Addresses that are taken, those on their way out or back included.
        cursor: The address that was handed out last, as a number; None before the first.
        full: Runs of blocks in which nothing is free, as first and last block, which planners skip.
        grants: What was taken and is not handed out in full.
        releases: What was given back and is not free yet.
    """

    id: Annotated[ObjectId, Field(key="_id")]
    pool: Annotated[ObjectId, Field()]
    start: Annotated[Address, Field(codec=PLACE)]
    end: Annotated[Address, Field(codec=PLACE)]
    gateway: Annotated[Address | None, Field(codec=ADDRESS)] = None
    exclusions: Annotated[tuple[str, ...], Field(codec=TEXTS)] = ()
    strategy: Annotated[Strategy, Field(codec=enumeration(Strategy))] = Strategy.NEXT
    size: Annotated[int, Field(codec=LARGE_INTEGER)]
    state: Annotated[LedgerState, Field(codec=enumeration(LedgerState))] = LedgerState.CLOSED
    unfinished: Annotated[datetime | None, Field(stored=Stored.IF_SET)] = None
    version: Annotated[int, Field()] = 0
    used: Annotated[int, Field()] = 0
    cursor: Annotated[int | None, Field(codec=_NUMBER)] = None
    full: Annotated[tuple[tuple[int, int], ...], Field(codec=_RUNS)] = ()
    grants: Annotated[tuple[Grant, ...], Field(codec=_each(Grant))] = ()
    releases: Annotated[tuple[Release, ...], Field(codec=_each(Release))] = ()

    @classmethod
    def of(cls, subnet: Subnet) -> Ledger:
        """Return the ledger of a new *subnet*: nothing is taken, and nothing can be before it is opened."""
        return cls(
            id=subnet.id,
            pool=subnet.pool,
            start=subnet.start,
            end=subnet.end,
            gateway=subnet.gateway,
            exclusions=subnet.exclusions,
            strategy=subnet.strategy,
            size=subnet.size,
            unfinished=utc_now(),
        )

    @property
    def is_open(self) -> bool:
        """Whether addresses can be taken."""
        return self.state is LedgerState.OPEN

    @property
    def space(self) -> AddressSpace:
        """The addresses that the subnet may hand out."""
        return AddressSpace.of_subnet(self.start, self.end, self.gateway, self.exclusions)

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

    def succeeded_by(self) -> Ledger:
        """Return the next version, which knows since when its entries are there."""
        return replace(
            self,
            version=self.version + 1,
            unfinished=min((entry.at for entry in self.entries), default=self.unfinished),
        )

    def to_bson(self) -> Bson:
        """Return the stored form."""
        return stored_fields(self)

    def changing_to_bson(self) -> Bson:
        """Return the stored form of what changes when addresses are taken or given back."""
        bson = stored_fields(self)
        return {name: bson[name] for name in _CHANGING if name in bson}

    @classmethod
    def from_bson(cls, bson: Bson) -> Ledger:
        """Return the ledger that was stored."""
        return cls(**read_fields(cls, bson))
