"""The ledger of a subnet: the part of its document that says what was taken and what is on its way."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from bson import ObjectId

Bson = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Grant:
    """Addresses that a batch has taken from a subnet for one job and has not finished handing out.

    Attributes:
        batch: The claim under which they were taken; the job decides whether it counts.
        fresh: Runs `(offset, count)` of addresses that were never used.
        recycled: Queue positions `[first, end)` of released leases; those that exist in it are meant.
        count: How many addresses that is in all.
        at: When they were taken.
    """

    batch: ObjectId
    job: ObjectId
    reservation: ObjectId
    fresh: tuple[tuple[int, int], ...]
    recycled: tuple[int, int]
    count: int
    at: datetime

    @property
    def fresh_count(self) -> int:
        """How many of the addresses were never used."""
        return sum(count for _, count in self.fresh)

    @property
    def span(self) -> int:
        """How many ordinals its leases may have: recycled ones keep the gaps of the queue."""
        return self.fresh_count + self.recycled[1] - self.recycled[0]

    def to_bson(self) -> Bson:
        """The stored form."""
        return {
            "batch": self.batch,
            "job": self.job,
            "reservation": self.reservation,
            "fresh": [list(run) for run in self.fresh],
            "recycled": list(self.recycled),
            "count": self.count,
            "at": self.at,
        }

    @classmethod
    def from_bson(cls, bson: Bson) -> Grant:
        """The grant that was stored."""
        first, end = bson["recycled"]
        return cls(
            batch=bson["batch"],
            job=bson["job"],
            reservation=bson["reservation"],
            fresh=tuple((offset, count) for offset, count in bson["fresh"]),
            recycled=(first, end),
            count=bson["count"],
            at=bson["at"],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """Addresses on their way back to the queue of a subnet, at positions from `first` on.

    Exactly one of three is given back: a whole reservation, one lease of a reservation, or a grant that no job
    wants any more.
    """

    id: ObjectId
    first: int
    count: int
    span: int
    at: datetime
    reservation: ObjectId
    lease: ObjectId | None = None
    grant: Grant | None = None

    def to_bson(self) -> Bson:
        """The stored form."""
        return {
            "id": self.id,
            "first": self.first,
            "count": self.count,
            "span": self.span,
            "at": self.at,
            "reservation": self.reservation,
            "lease": self.lease,
            "grant": self.grant.to_bson() if self.grant else None,
        }

    @classmethod
    def from_bson(cls, bson: Bson) -> Release:
        """The release that was stored."""
        grant = bson["grant"]
        return cls(**{**bson, "grant": Grant.from_bson(grant) if grant else None})


@dataclass(frozen=True, slots=True, kw_only=True)
class Ledger:
    """What a subnet has given out; changed only by writes conditional on `version`.

    Attributes:
        version: Grows with every change.
        cursor: Offset from the subnet's start; every allocatable address below it has been taken at least once.
        head: First position of the queue of released leases that has not been handed out again.
        tail: First position that no release has got.
        used: Addresses that are taken, grants included.
        grants: Addresses taken, leases not yet all written.
        releases: Addresses given back, leases not yet all written.
    """

    version: int = 0
    cursor: int = 0
    head: int = 0
    tail: int = 0
    used: int = 0
    grants: tuple[Grant, ...] = ()
    releases: tuple[Release, ...] = ()

    @property
    def ready(self) -> int:
        """End of the positions that may be handed out: a pending release and what is behind it must wait."""
        return min((release.first for release in self.releases), default=self.tail)

    def to_bson(self) -> Bson:
        """The stored form."""
        return {
            "version": self.version,
            "cursor": self.cursor,
            "head": self.head,
            "tail": self.tail,
            "used": self.used,
            "grants": [grant.to_bson() for grant in self.grants],
            "releases": [release.to_bson() for release in self.releases],
        }

    @classmethod
    def from_bson(cls, bson: Bson) -> Ledger:
        """The ledger that was stored."""
        return cls(
            version=bson["version"],
            cursor=bson["cursor"],
            head=bson["head"],
            tail=bson["tail"],
            used=bson["used"],
            grants=tuple(map(Grant.from_bson, bson["grants"])),
            releases=tuple(map(Release.from_bson, bson["releases"])),
        )
