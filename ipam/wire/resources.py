"""The resources: pools, subnets, reservations, leases, jobs and tokens."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from pydantic import Field

from ipam.models.job import JobKind, JobState
from ipam.models.reservation import ReservationState
from ipam.models.reservation_request import Spread
from ipam.models.subnet import Strategy
from ipam.models.token import Role
from ipam.wire.model import Count, Id, Path, Time, TokenId, WireModel
from ipam.wire.problems import Problem


class Described(WireModel):
    """What every resource has that users describe."""

    id: Id
    """Chosen by ipam."""
    name: str
    """The name; empty if it has none."""
    tags: list[str]
    """Words that lists are filtered by."""
    metadata: Any
    """Any JSON, returned as it was sent, numbers to the last digit."""
    created_at: Time
    """When it was created."""
    updated_at: Time
    """When it was changed last."""
    revision: Count
    """Grows with every change of what users write; the ETag begins with it."""


class Pool(Described):
    """A set of subnets that do not overlap."""

    media_kind: ClassVar[str] = "pool"

    subnets: Count
    """How many subnets are in it."""
    size: Count
    """How many addresses its subnets can lease; it may exceed 64 bits."""
    used: Count
    """How many of them are reserved."""
    free: Count
    """How many of them are not."""


class Subnet(Described):
    """A range of addresses in a pool."""

    media_kind: ClassVar[str] = "subnet"

    pool: Id
    """The pool that it is in."""
    start: str
    """The first address that can be leased."""
    end: str
    """The last one, included."""
    cidr: str | None
    """The network that it was created from, all of which it keeps from other subnets of its pool."""
    gateway: str | None
    """An address in it that is never leased."""
    exclusions: list[str]
    """Addresses (`a`), ranges (`a-b`) and networks in it that are never leased."""
    strategy: Strategy
    """The order in which free addresses are leased."""
    cooldown: Count
    """0 in this version."""
    size: Count
    """How many addresses it can lease; it may exceed 64 bits."""
    used: Count
    """How many of them are reserved."""
    free: Count
    """How many of them are not."""
    utilization: Annotated[float, Field(ge=0, le=1)]
    """The share that is reserved: 0 only of none, 1 only of all."""


class Lease(Described):
    """An address that a reservation holds."""

    media_kind: ClassVar[str] = "lease"

    id: Id
    """Chosen by ipam; an address that is given back and reserved again has a new lease with a new id."""
    address: str
    """The address."""
    subnet: Id
    """The subnet that it is of."""
    reservation: Id
    """The reservation that holds it."""


class Reservation(Described):
    """Addresses that belong together."""

    media_kind: ClassVar[str] = "reservation"

    pool: Id
    """The pool that its addresses are of."""
    subnet: Id | None
    """The subnet that they are of; null if they are of several."""
    subnets: list[Id]
    """All subnets that they are of."""
    count: Count
    """How many addresses it holds now."""
    state: ReservationState
    """`active`."""
    expires_at: Time | None
    """When it is released by itself: never, in this version."""
    pool_metadata: Any
    """The metadata of its pool."""
    subnet_metadata: Any
    """The metadata of its subnet; null if it has several."""
    leases: list[Lease] | None = None
    """Its leases, in the answer to POST and with `embed=leases`."""
    next: Path | None = None
    """Where the leases go on that did not fit."""


class Progress(WireModel):
    """How far a job is."""

    done: Count
    """How many addresses are reserved, or given back."""
    total: Count
    """Of how many."""


class JobRequest(WireModel):
    """What was asked for; of a release or deletion, how many addresses are given back."""

    count: Count
    """How many addresses."""
    name: str | None = None
    """The name of the reservation."""
    tags: list[str] | None = None
    """Its tags."""
    metadata: Any = None
    """Its metadata."""
    addresses: list[str] | None = None
    """These very addresses."""
    contiguous: bool | None = None
    """Addresses that follow each other."""
    strategy: Strategy | None = None
    """In which order free ones are taken."""
    spread: Spread | None = None
    """In which order subnets are taken from."""
    ipv4: Count | None = None
    """So many of this family."""
    ipv6: Count | None = None
    """So many of this family."""
    omitted: bool | None = None
    """Whether the rest is left out here, for it is long; the job itself shows it."""


class Job(WireModel):
    """Work that was accepted and will come to an end."""

    media_kind: ClassVar[str] = "job"

    id: Id
    """Chosen by ipam."""
    kind: JobKind
    """The kind of work."""
    state: JobState
    """The state; `succeeded`, `failed` and `cancelled` are final."""
    pool: Id
    """The pool it is about."""
    subnet: Id | None
    """The subnet it is about; null if it is about a pool."""
    request: JobRequest
    """What was asked for."""
    attempts: Count
    """How often a worker has begun it."""
    created_at: Time
    """When it was accepted."""
    started_at: Time | None
    """When a worker began it."""
    finished_at: Time | None
    """When it ended."""
    revision: Count
    """Grows with every change."""
    reservation: Id | None
    """The reservation that it has made, or that is released."""
    error: Problem | None
    """Why it has failed."""
    progress: Progress
    """How far it is."""
    actor: str | None
    """The caller that asked for it."""
    request_id: str | None
    """The id of that request."""
    traceparent: str | None
    """The place of that request in a trace."""


class Token(Described):
    """A token, without its secret."""

    media_kind: ClassVar[str] = "token"

    id: TokenId
    """The part of its text that is no secret."""
    role: Role
    """The role: what its requests may do."""
    expires_at: Time | None
    """From when on it is refused; null for never."""
    allowed_from: list[str]
    """Networks that its requests may come from; empty for any."""
    disabled: bool
    """Whether it is refused for now."""
    created_by: str | None
    """The caller that created it."""
    last_used_at: Time | None
    """When it was used last, to the minute."""


class CreatedToken(Token):
    """A token that was just created."""

    token: Annotated[str, Field(pattern="^ipam_[0-9A-Za-z]{12}_[0-9A-Za-z_-]{43}$")]
    """Its text, with the secret, which is shown this once."""
