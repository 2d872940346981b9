"""Stored documents: a frozen dataclass for each collection, with its conversion to and from BSON."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import StrEnum
from ipaddress import ip_network
from typing import Any, TypeVar

from bson import ObjectId

from ipam.models import metadata as meta
from ipam.models.address_set import AddressSet
from ipam.models.addresses import Address, from_bytes, from_place, to_bytes, to_place
from ipam.models.audit_context import AuditContext, current_audit_context
from ipam.models.clock import utc_now
from ipam.models.events import Event, outbox_of
from ipam.models.ledgers import Ledger
from ipam.models.reserved_addresses import SubnetAddresses, in_order, lease_key, stem_of
from ipam.models.search_keys import COUNTED, OPEN
from ipam.util.lossless_json import dumps, loads

Bson = dict[str, Any]


NOT_CLAIMED = datetime(1970, 1, 1, tzinfo=UTC)
_AS_CREATED = datetime.min.replace(tzinfo=UTC)
# Of a job's request or error with more bytes than that a list shows less, and so much of the error's text.
_LISTED_BYTES = 4096
_LISTED_DETAIL = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """The fields of every resource; `outbox` has its events that are not in the log yet."""

    id: ObjectId
    name: str = ""
    tags: tuple[str, ...] = ()
    metadata: meta.Json = None
    created_at: datetime = field(default_factory=utc_now)
    updated_at: datetime = _AS_CREATED
    revision: int = 1
    outbox: tuple[Event, ...] = ()

    def __post_init__(self) -> None:
        """Set `updated_at` of a new document to `created_at`: the clock is read once."""
        if self.updated_at is _AS_CREATED:
            object.__setattr__(self, "updated_at", self.created_at)


D = TypeVar("D", bound=Document)


def described(name: str, tags: tuple[str, ...], metadata: meta.Json) -> Bson:
    """Return the stored form of what users write on a resource, with the facets that lists filter by."""
    return {
        "name": name,
        "tags": list(tags),
        "metadata": meta.encode(metadata),
        "facets": meta.facets(name, tags, metadata),
    }


def common_to_bson(document: Document) -> Bson:
    """Return the stored form of the fields of `Document`, but for the id, whose key differs.

    Fields without a value are left out, so that a lease is small and has no entry in the index of facets.
    """
    common: Bson = {
        "created_at": document.created_at,
        "updated_at": document.updated_at,
        "revision": document.revision,
    }
    if document.name or document.tags or document.metadata is not None:
        written = described(document.name, document.tags, document.metadata)
        common |= {name: value for name, value in written.items() if value or name != "facets"}
    return common


def succeeded_by(document: D, **changes: Any) -> D:
    """Return *document* with *changes*, of the next revision and not older than before, whatever the clock says."""
    now = max(utc_now(), document.updated_at)
    return replace(document, revision=document.revision + 1, updated_at=now, **changes)


def moved_on(document: Document, **fields: Any) -> Bson:
    """Return the update that writes *fields*, and the revision and time of *document*, which is as it will be."""
    return {"$set": {**fields, "revision": document.revision, "updated_at": document.updated_at}}


def _common(bson: Bson) -> dict[str, Any]:
    return {
        "name": bson.get("name", ""),
        "tags": tuple(bson.get("tags", ())),
        "metadata": meta.decode(bson["metadata"]) if "metadata" in bson else None,
        "created_at": bson["created_at"],
        "updated_at": bson["updated_at"],
        "revision": bson["revision"],
        "outbox": outbox_of(bson),
    }


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
        return cls(id=bson["_id"], **_common(bson))


class Strategy(StrEnum):
    """The order in which free addresses are leased.

    `next` is the one after that handed out last, and from the beginning again when the end is reached.
    """

    NEXT = "next"
    LOWEST = "lowest"
    RANDOM = "random"


class SubnetState(StrEnum):
    """A subnet is shown and used only while it is active; a deleted one stays for a while as a tombstone.

    The tombstone keeps a creation that is repeated, or was asleep for long, from bringing the subnet back.
    """

    CREATING = "creating"
    ACTIVE = "active"
    DELETING = "deleting"
    DELETED = "deleted"


# Something may still hang on a subnet in one of these.
LIVING = (SubnetState.CREATING, SubnetState.ACTIVE, SubnetState.DELETING)


@dataclass(frozen=True, slots=True, kw_only=True)
class Subnet(Document):
    """A range of addresses, both ends included, and the ledger of what is taken from it.

    `low` and `high` in its document are the ends of what it holds, so that an address finds it.

    `size` is how many addresses it can give out; it may exceed 64 bits and is stored as text.

    Attributes:
        deleted_by: Where its deletion comes from, and with it all that happens to its reservations.
    """

    pool: ObjectId
    start: Address
    end: Address
    size: int
    cidr: str | None = None
    gateway: Address | None = None
    exclusions: tuple[str, ...] = ()
    strategy: Strategy = Strategy.NEXT
    cooldown: int = 0
    state: SubnetState = SubnetState.CREATING
    ledger: Ledger = field(default_factory=Ledger)
    deleted_by: AuditContext = field(default_factory=AuditContext)

    def to_bson(self) -> Bson:
        """Return the stored form."""
        return {
            "_id": self.id,
            **common_to_bson(self),
            "pool": self.pool,
            "start": to_place(self.start),
            "end": to_place(self.end),
            "low": to_place(self.held[0]),
            "high": to_place(self.held[1]),
            "size": str(self.size),
            "cidr": self.cidr,
            "gateway": to_bytes(self.gateway) if self.gateway else None,
            "exclusions": list(self.exclusions),
            "strategy": self.strategy.value,
            "cooldown": self.cooldown,
            "state": self.state.value,
            "ledger": self.ledger.to_bson(),
        }

    @property
    def held(self) -> tuple[Address, Address]:
        """First and last address that it keeps from other subnets of its pool: of a CIDR all of it."""
        if self.cidr is None:
            return self.start, self.end
        network = ip_network(self.cidr)
        return network[0], network[-1]

    @classmethod
    def from_bson(cls, bson: Bson) -> Subnet:
        """Return the subnet that was stored."""
        return cls(
            id=bson["_id"],
            **_common(bson),
            pool=bson["pool"],
            start=from_place(bson["start"]),
            end=from_place(bson["end"]),
            size=int(bson["size"]),
            cidr=bson["cidr"],
            gateway=from_bytes(bson["gateway"]) if bson["gateway"] else None,
            exclusions=tuple(bson["exclusions"]),
            strategy=Strategy(bson["strategy"]),
            cooldown=bson["cooldown"],
            state=SubnetState(bson["state"]),
            ledger=Ledger.from_bson(bson["ledger"]),
            deleted_by=AuditContext.from_json(bson.get("deleted_by")),
        )


class ReservationState(StrEnum):
    """A reservation is shown only while it is active; a released one stays for a while as a tombstone.

    The tombstone keeps a worker that was asleep for long from bringing the reservation back.
    """

    ACTIVE = "active"
    RELEASING = "releasing"
    RELEASED = "released"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reservation(Document):
    """Addresses that belong together; `count` is how many it holds now.

    A lease names its holder; by its *holdings* a reservation finds its leases. Lists leave them out.

    Attributes:
        at_once: Whether, its release being begun, all that it has goes back with one entry in a ledger.
    """

    pool: ObjectId
    subnets: tuple[ObjectId, ...]
    count: int
    holdings: tuple[SubnetAddresses, ...] = ()
    state: ReservationState = ReservationState.ACTIVE
    at_once: bool = False

    @property
    def subnet(self) -> ObjectId | None:
        """The subnet that it takes from, None when there are several, or none any more."""
        return self.subnets[0] if len(self.subnets) == 1 else None

    @property
    def left(self) -> Iterator[tuple[ObjectId, AddressSet]]:
        """The addresses that it still holds, by subnet, in the order of lease keys."""
        for holding in in_order(self.holdings):
            if holding.subnet in self.subnets:
                yield holding.subnet, holding.left

    def lease_keys(self) -> Iterator[bytes]:
        """Return the keys of the leases that it has, unless one was given back this moment; they ascend."""
        return (lease_key(subnet, address) for subnet, addresses in self.left for address in addresses)

    def less(self, subnet: ObjectId, addresses: AddressSet) -> Reservation:
        """Return the reservation without *addresses* of *subnet*."""
        holdings = (
            replace(one, back=one.back | addresses) if one.subnet == subnet else one for one in self.holdings
        )
        return _counted(replace(self, holdings=tuple(holdings)))

    def without(self, subnet: ObjectId) -> Reservation:
        """Return the reservation without all that it has of *subnet*."""
        return _counted(replace(self, subnets=tuple(one for one in self.subnets if one != subnet)))

    def to_bson(self) -> Bson:
        """Return the stored form."""
        return {
            "_id": self.id,
            **common_to_bson(self),
            "pool": self.pool,
            "subnets": list(self.subnets),
            "count": self.count,
            "holdings": [holding.to_bson() for holding in self.holdings],
            "keys": [self.pool, *self.subnets, stem_of(self.id)],
            "state": self.state.value,
        }

    @classmethod
    def from_bson(cls, bson: Bson) -> Reservation:
        """Return the reservation that was stored."""
        return cls(
            id=bson["_id"],
            **_common(bson),
            pool=bson["pool"],
            subnets=tuple(bson["subnets"]),
            count=bson["count"],
            holdings=tuple(map(SubnetAddresses.from_bson, bson.get("holdings", ()))),
            state=ReservationState(bson["state"]),
            at_once=bson.get("at_once", False),
        )


def _counted(reservation: Reservation) -> Reservation:
    return replace(reservation, count=sum(len(addresses) for _, addresses in reservation.left))


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
            **_common(bson),
            subnet=bson["subnet"],
            pool=bson["pool"],
            reservation=bson["reservation"],
            address=from_bytes(bson["_id"][12:]),
            entry=bson["entry"],
            tidied=bson.get("tidied"),
        )


class JobKind(StrEnum):
    """The kinds of jobs."""

    RESERVATION = "reservation"
    RELEASE = "release"
    DELETION = "deletion"


class JobState(StrEnum):
    """The states of a job."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def terminal(self) -> bool:
        """Whether the state is final."""
        return self not in (JobState.QUEUED, JobState.RUNNING)


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """Work that was accepted and will reach a terminal state.

    Attributes:
        target: The subnet or pool that addresses are taken from; or what is deleted, or the reservation that is
            released.
        request: The request as JSON: see `ipam.models.reservation_request`, or how many addresses are given back.
        reservation: That which is released; or the id of that to come, chosen before the first write. Of a deletion
            the id of what is deleted.
        claim: Token of the worker that has claimed it.
        claimed_until: When the claim lapses and any worker may claim it; long ago for a job without a claim, so
            that one condition finds both.
        decision: Token of the claim whose grants count; once set, the job succeeds or is abandoned. A job of one
            subnet needs none: its grant counts as it stands in the ledger.
        attempts: How often it was claimed.
        failures: How often a claim ran out, its worker having died, failed or fallen asleep.
        done: How many addresses of those asked for are written, or back.
        position: How many of the addresses that its reservation was given a release has gone through.
        is_counted: Whether it counts against the bound on what is asked for at once, while it is open.
        hooks: Those that are to be asked about it, as they were declared to the process that accepted it.
        reviewed: Whether hooks were asked; `request` is then as they have amended it.
        refused: What a hook has refused it with, which is to be its error.
        held: The addresses that it has come to, where they are told with its end; else None.
        held_since: When they were granted.
        audit_context: That of the request.
        outbox: What was not told yet of its end.
    """

    id: ObjectId
    kind: JobKind
    target: ObjectId
    pool: ObjectId
    subnet: ObjectId | None
    request: Bson
    reservation: ObjectId
    state: JobState = JobState.QUEUED
    claim: ObjectId | None = None
    claimed_until: datetime = NOT_CLAIMED
    decision: ObjectId | None = None
    attempts: int = 0
    failures: int = 0
    done: int = 0
    position: int = 0
    is_counted: bool = False
    hooks: tuple[str, ...] = ()
    reviewed: bool = False
    refused: Bson | None = None
    held: tuple[SubnetAddresses, ...] | None = None
    held_since: datetime | None = None
    error: Bson | None = None
    created_at: datetime = field(default_factory=utc_now)
    started_at: datetime | None = None
    finished_at: datetime | None = None
    revision: int = 1
    audit_context: AuditContext = field(default_factory=current_audit_context)
    outbox: tuple[Event, ...] = ()

    def to_bson(self) -> Bson:
        """Return the stored form of a new job, or what is told of its end."""
        bson: Bson = {
            "_id": self.id,
            "kind": self.kind.value,
            "target": self.target,
            "keys": [self.target, OPEN, *([COUNTED] if self.is_counted else ())],
            "pool": self.pool,
            "subnet": self.subnet,
            **request_to_bson(self.request),
            "reservation": self.reservation,
            "state": self.state.value,
            "claim": self.claim,
            "claimed_until": self.claimed_until,
            "decision": self.decision,
            "attempts": self.attempts,
            "failures": self.failures,
            "error": None,
            "created_at": self.created_at,
            "started_at": self.started_at,
            "finished_at": self.finished_at,
            "revision": self.revision,
            "origin": self.audit_context.to_json(),
        }
        if self.hooks:
            bson["hooks"] = list(self.hooks)
        if self.is_counted:
            bson["count"] = self.request["count"]
        if self.held is not None:
            bson |= {"held": [holding.to_bson() for holding in self.held], "held_since": self.held_since}
        return bson

    @classmethod
    def from_bson(cls, bson: Bson) -> Job:
        """Return the job that was stored, or told of."""
        return cls(
            id=bson["_id"],
            **{
                key: bson[key]
                for key in (
                    "target", "pool", "subnet", "reservation", "claim", "claimed_until", "decision",
                    "attempts", "created_at", "started_at", "finished_at", "revision",
                )
            },
            kind=JobKind(bson["kind"]),
            failures=bson.get("failures", 0),  # Jobs of 0.1 have none.
            done=bson.get("done", 0),
            position=bson.get("position", 0),
            hooks=tuple(bson.get("hooks", ())),
            reviewed=bson.get("consulted", False),
            refused=loads(bson["refused"]) if "refused" in bson else None,
            held=tuple(map(SubnetAddresses.from_bson, bson["held"])) if "held" in bson else None,
            held_since=bson.get("held_since"),
            request=loads(bson.get("large_request") or bson["request"]),
            state=JobState(bson["state"]),
            error=loads(error) if (error := bson.get("large_error") or bson["error"]) else None,
            audit_context=AuditContext.from_json(bson.get("origin")),
            outbox=outbox_of(bson),
        )  # fmt: skip


def request_to_bson(request: Bson) -> Bson:
    """Return the stored form of a job's request; a large one is in a field of its own, which lists do without."""
    return _apart("request", request, {"count": request.get("count"), "omitted": True})


def error_to_bson(error: Bson) -> Bson:
    """Return the stored form of a job's error; a large one is in a field of its own, which lists do without."""
    beginning = f"{error.get('detail', '')[:_LISTED_DETAIL]}..."
    return _apart("error", error, {**error, "detail": beginning, "facts": {"omitted": True}})


def listed(job: Job) -> Job:
    """Return *job* as lists and events show it."""
    error = loads(error_to_bson(job.error)["error"]) if job.error is not None else None
    return replace(job, request=loads(request_to_bson(job.request)["request"]), error=error)


def _apart(field: str, whole: Bson, listed: Bson) -> Bson:
    text = dumps(whole)
    if len(text) <= _LISTED_BYTES:
        return {field: text, f"large_{field}": None}
    return {field: dumps(listed), f"large_{field}": text}
