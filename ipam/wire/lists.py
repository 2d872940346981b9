"""Pages of lists."""

from __future__ import annotations

from typing import ClassVar

from ipam.wire.model import Count, Id, Path, WireModel
from ipam.wire.resources import Job, Lease, Pool, Reservation, Subnet, Token


class Page(WireModel):
    """A page of a list."""

    next: Path | None = None
    """The next page; missing on the last one."""


class Pools(Page):
    """A page of pools."""

    media_kind: ClassVar[str] = "pools"

    pools: list[Pool]
    """Oldest first."""


class Subnets(Page):
    """A page of subnets."""

    media_kind: ClassVar[str] = "subnets"

    subnets: list[Subnet]
    """Oldest first."""


class Reservations(Page):
    """A page of reservations."""

    media_kind: ClassVar[str] = "reservations"

    reservations: list[Reservation]
    """Oldest first."""


class Leases(Page):
    """A page of leases."""

    media_kind: ClassVar[str] = "leases"

    leases: list[Lease]
    """Subnet by subnet, lowest address first."""


class Jobs(Page):
    """A page of jobs."""

    media_kind: ClassVar[str] = "jobs"

    jobs: list[Job]
    """Oldest first; what is long in them is left out."""


class Tokens(Page):
    """A page of tokens."""

    media_kind: ClassVar[str] = "tokens"

    tokens: list[Token]
    """By their ids."""


class FreeRange(WireModel):
    """Free addresses that follow each other."""

    cidr: str | None = None
    """The network that they are, if `prefix_length` was asked for."""
    start: str
    """The first one."""
    end: str
    """The last one, included."""
    size: Count
    """The number of addresses."""
    subnet: Id
    """The subnet that they are of."""


class FreeRanges(Page):
    """A page of free ranges."""

    media_kind: ClassVar[str] = "free"

    free: list[FreeRange]
    """Subnet by subnet, lowest address first."""
