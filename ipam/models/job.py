"""A job."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import StrEnum

from bson import ObjectId

from ipam.models.audit_context import AuditContext, current_audit_context
from ipam.models.document import Bson
from ipam.models.event import Event, outbox_of
from ipam.models.reserved_addresses import SubnetAddresses
from ipam.models.search_keys import COUNTED, OPEN
from ipam.util.clock import utc_now
from ipam.util.lossless_json import dumps, loads

NOT_CLAIMED = datetime(1970, 1, 1, tzinfo=UTC)
# Of a job's request or error with more bytes than that a list shows less, and so much of the error's text.
_LISTED_BYTES = 4096
_LISTED_DETAIL = 256


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
