"""A job."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, ClassVar

from bson import ObjectId

from ipam.models.audit_context import AUDIT_CONTEXT, AuditContext, current_audit_context
from ipam.models.document import OUTBOX
from ipam.models.event import Event
from ipam.models.fields import (
    OBJECT_ID,
    TEXTS,
    TIME,
    Access,
    Bson,
    Codec,
    Field,
    Json,
    Stored,
    enumeration,
    read_fields,
    shown_fields,
    stored_fields,
)
from ipam.models.reserved_addresses import HOLDINGS, SubnetAddresses
from ipam.models.search_keys import COUNTED, OPEN, search_keys
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

    type_name: ClassVar[str] = "job"

    id: Annotated[ObjectId, Field(Access.COMPUTED, OBJECT_ID, key="_id")]
    kind: Annotated[JobKind, Field(Access.COMPUTED, enumeration(JobKind))]
    state: Annotated[JobState, Field(Access.COMPUTED, enumeration(JobState))] = JobState.QUEUED
    target: Annotated[ObjectId, Field()]
    pool: Annotated[ObjectId, Field(Access.COMPUTED, OBJECT_ID)]
    subnet: Annotated[ObjectId | None, Field(Access.COMPUTED, OBJECT_ID)]
    request: Annotated[Json, Field(Access.COMPUTED, stored=Stored.NEVER)]
    reservation: Annotated[ObjectId, Field()]
    error: Annotated[Json | None, Field(stored=Stored.NEVER)] = None
    claim: Annotated[ObjectId | None, Field()] = None
    claimed_until: Annotated[datetime, Field()] = NOT_CLAIMED
    decision: Annotated[ObjectId | None, Field()] = None
    attempts: Annotated[int, Field(Access.COMPUTED)] = 0
    failures: Annotated[int, Field()] = 0
    done: Annotated[int, Field(stored=Stored.APART)] = 0
    position: Annotated[int, Field(stored=Stored.APART)] = 0
    is_counted: Annotated[bool, Field(stored=Stored.NEVER)] = False
    hooks: Annotated[tuple[str, ...], Field(codec=TEXTS, stored=Stored.IF_SET)] = ()
    reviewed: Annotated[bool, Field(stored=Stored.APART, key="consulted")] = False
    refused: Annotated[Json | None, Field(codec=Codec(from_bson=loads), stored=Stored.APART)] = None
    held: Annotated[tuple[SubnetAddresses, ...] | None, Field(codec=HOLDINGS, stored=Stored.IF_SET)] = None
    held_since: Annotated[datetime | None, Field(stored=Stored.IF_SET)] = None
    created_at: Annotated[datetime, Field(Access.COMPUTED, TIME)] = field(default_factory=utc_now)
    started_at: Annotated[datetime | None, Field(Access.COMPUTED, TIME)] = None
    finished_at: Annotated[datetime | None, Field(Access.COMPUTED, TIME)] = None
    revision: Annotated[int, Field(Access.COMPUTED)] = 1
    audit_context: Annotated[AuditContext, Field(codec=AUDIT_CONTEXT, key="origin")] = field(
        default_factory=current_audit_context
    )
    outbox: Annotated[tuple[Event, ...], OUTBOX] = ()

    @property
    def shown_reservation(
        self,
    ) -> Annotated[ObjectId | None, Field(Access.COMPUTED, OBJECT_ID, shown_as="reservation")]:
        """The reservation that is released, or that the job has made."""
        made = self.kind is JobKind.RESERVATION and self.state is JobState.SUCCEEDED
        return self.reservation if made or self.kind is JobKind.RELEASE else None

    @property
    def shown_error(self) -> Annotated[Json | None, Field(Access.COMPUTED, shown_as="error")]:
        """Why it has failed."""
        if self.error is None:
            return None
        return {"type": f"/problems/{self.error['slug']}", "detail": self.error["detail"], **self.error["facts"]}

    @property
    def progress(self) -> Annotated[Json, Field(Access.COMPUTED)]:
        """How many of the addresses it is about are done."""
        total = self.request["count"]
        return {"done": total if self.state is JobState.SUCCEEDED else min(self.done, total), "total": total}

    @property
    def actor(self) -> Annotated[str | None, Field(Access.COMPUTED)]:
        """The name of its caller."""
        return self.audit_context.actor

    @property
    def request_id(self) -> Annotated[str | None, Field(Access.COMPUTED)]:
        """The id of the HTTP request that it comes from."""
        return self.audit_context.request_id

    @property
    def traceparent(self) -> Annotated[str | None, Field(Access.COMPUTED)]:
        """The place of that request in a trace."""
        return self.audit_context.traceparent

    def to_bson(self) -> Bson:
        """Return the stored form of a new job, or what is told of its end."""
        counted = {"count": self.request["count"]} if self.is_counted else {}
        keys = search_keys(self.target, OPEN, *([COUNTED] if self.is_counted else ()))
        return {**stored_fields(self), **request_to_bson(self.request), "error": None, "keys": keys, **counted}

    @classmethod
    def from_bson(cls, bson: Bson) -> Job:
        """Return the job that was stored, or told of."""
        error = bson.get("large_error") or bson["error"]
        return cls(
            **read_fields(cls, bson),
            request=loads(bson.get("large_request") or bson["request"]),
            error=loads(error) if error else None,
        )

    def to_json(self) -> Json:
        """Return the JSON, as answers and events show it."""
        return shown_fields(self)


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
