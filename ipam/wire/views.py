"""What is shown beside resources and their lists."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import ConfigDict, Field

from ipam.wire.model import Count, Id, Path, WireModel
from ipam.wire.problems import Problem
from ipam.wire.resources import Job, Reservation


class MapCell(WireModel):
    """A part of a network."""

    cidr: str
    """The part."""
    used: Count
    """How many of its addresses are reserved."""
    cooling: Count
    """0 in this version."""
    excluded: Count
    """How many are never leased."""


class SubnetMap(WireModel):
    """A network in parts of one size."""

    media_kind: ClassVar[str] = "map"

    subnet: Id
    """The subnet that is looked at."""
    block: str
    """The network that is shown."""
    cells: Annotated[list[MapCell], Field(max_length=256)]
    """Its parts, lowest address first."""


class Holder(WireModel):
    """Who holds an address in a subnet that it lies in; null where no reservation does."""

    pool: Id
    """The pool of the subnet."""
    subnet: Id
    """The subnet."""
    lease: Id | None
    """The lease; null also if the log does not say which one it was."""
    reservation: Id | None
    """The reservation."""
    name: str | None
    """The name of the reservation."""


class AddressHolders(WireModel):
    """Who holds an address."""

    media_kind: ClassVar[str] = "address"

    address: str
    """The address, in its normal form."""
    holders: list[Holder]
    """One for each subnet that it lies in."""


class Outcome(WireModel):
    """What became of one request of a list."""

    status: int
    """What it would have been answered, had it come alone."""
    location: Path | None = None
    """Where its reservation or job can be read."""
    reservation: Reservation | None = None
    """What it was given."""
    job: Job | None = None
    """The job that goes on."""
    problem: Problem | None = None
    """Why it was refused."""


class Outcomes(WireModel):
    """What became of a list of requests."""

    media_kind: ClassVar[str] = "outcomes"

    outcomes: list[Outcome]
    """In the order of the requests."""


class Root(WireModel):
    """What this is."""

    name: Literal["ipam"]
    """The name of the service."""
    version: str
    """Its version."""
    links: dict[str, Path]
    """Where there is something to be read."""


class Liveness(WireModel):
    """That the process answers."""

    status: Literal["ok"]
    """Always `ok`."""


class Readiness(Liveness):
    """That what this process needs can be used."""

    parts: dict[str, str]
    """Each part that is needed, and `ok`."""


class PartState(WireModel):
    """The state of a part of the installation; some have figures besides."""

    model_config = ConfigDict(extra="allow")

    status: str
    """`ok`, or `none` for a part that is not wanted; anything else is a fault."""
    detail: str | None = None
    """What is wrong and what to do."""


class HookState(WireModel):
    """A declared hook."""

    name: str
    """Its name."""
    silence: Literal["allow", "deny"]
    """What it means when it does not answer."""
    unanswered: Count
    """How often it did not answer since this process began."""


class InstallationState(WireModel):
    """The state of all parts of the installation."""

    status: Literal["ok", "degraded"]
    """`ok` if all parts are."""
    version: str
    """The version of this process."""
    parts: dict[str, PartState]
    """Each part by its name."""
    hooks: list[HookState]
    """All hooks that this process asks."""
