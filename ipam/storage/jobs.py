"""The store of jobs: their requests, claims and results."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from bson import ObjectId
from pymongo.database import Database

from ipam.models import event_factory
from ipam.models.audit_context import current_audit_context
from ipam.models.event import Event
from ipam.models.fields import Bson
from ipam.models.job import NOT_CLAIMED, Job, JobState, error_to_bson, request_to_bson
from ipam.models.search_keys import COUNTED, KEEP_JOBS, OPEN, expiry_keys
from ipam.storage.bulk_writes import Writes
from ipam.storage.connection import KEYS_CHUNK, among, chunks, insert_missing, speaks_mongo
from ipam.storage.document_store import DocumentStore
from ipam.storage.outbox import telling
from ipam.storage.query import LIMIT_MAX, Query
from ipam.storage.sizes import fitting
from ipam.storage.time_span import begun_within, held_for
from ipam.util.clock import utc_now
from ipam.util.lossless_json import dumps

_OPEN_STATES = [state.value for state in JobState if not state.terminal]
_OPEN = {"$in": _OPEN_STATES}


@speaks_mongo
class JobStore(DocumentStore[Job]):
    """The collection `jobs`."""

    kind = Job.type_name
    unlisted = ("outbox", "large_request", "large_error")

    def __init__(self, database: Database[Any]) -> None:
        super().__init__(database, Job.from_bson)

    def insert(self, *jobs: Job) -> None:
        """Store new jobs; to store one twice changes nothing."""
        insert_missing(self._collection, [job.to_bson() for job in jobs])

    def _filter(self, query: Query) -> Bson:
        """Return jobs that have not ended, by their key and then the other conditions: of all jobs they are few."""
        if query.by_field.get("state") in _OPEN_STATES:
            query = replace(query, conditions=({"keys": OPEN}, *query.conditions))
        return super()._filter(query)

    def waiting(self, target: ObjectId, limit: int, hold_s: float) -> tuple[list[Job], bool]:
        """Return the oldest jobs of *target* that no worker has in hand, and whether there may be more of them.

        They are *limit* at most, and come to 2 MiB, one at least. A claim holds for *hold_s* seconds.
        """
        held = held_for(hold_s)
        found, more = self._oldest({"keys": target}, limit)
        free = [bson for bson in found if bson["claimed_until"] not in held]
        # By the key alone, for the reason that `DocumentStore._seen` gives, unless others have many in hand.
        if more and len(free) < len(found):
            free, more = self._oldest({"keys": target, "claimed_until": held.outside()}, limit)
        return [Job.from_bson(bson) for bson in free], more

    def _oldest(self, wanted: Bson, limit: int) -> tuple[list[Bson], bool]:
        with self._collection.find(wanted).sort("_id", 1).limit(limit + 1).batch_size(limit + 1) as found:
            some, is_cut = fitting(found, limit + 1)
        return some[:limit], is_cut or len(some) > limit

    def claim(self, jobs: Sequence[Job], hold_s: float) -> tuple[ObjectId, list[Job]]:
        """Claim *jobs* of one target; return those that no other process has claimed or closed before.

        Returns a new token, and the jobs that carry it. They are free for others again after *hold_s* seconds.
        """
        token, now = ObjectId(), utc_now()
        ids = [job.id for job in jobs]
        if not ids:
            return token, []
        taken: Bson = {
            "state": JobState.RUNNING.value,
            "claim": token,
            "claimed_until": now + timedelta(seconds=hold_s),
            "started_at": now,
        }
        # The condition is checked again for each document: of two workers, each gets what it was first at.
        claimed = self._collection.update_many(
            {"_id": {"$in": ids}, "keys": jobs[0].target, "claimed_until": held_for(hold_s).outside()},
            {"$set": taken, "$inc": {"attempts": 1, "revision": 1}},
        )
        # A claim that was neither given back nor carried out: its worker died over it, or as good as that.
        abandoned = [job.id for job in jobs if job.claim is not None]
        if abandoned:
            self._collection.update_many({"_id": {"$in": abandoned}, "claim": token}, {"$inc": {"failures": 1}})
        if abandoned or claimed.modified_count < len(ids):
            return token, self.claimed(ids, token)
        as_taken: Bson = {**taken, "state": JobState.RUNNING}
        return token, [
            replace(job, **as_taken, attempts=job.attempts + 1, revision=job.revision + 1) for job in jobs
        ]

    def claimed(self, ids: Iterable[ObjectId], token: ObjectId) -> list[Job]:
        """Return those of *ids* that have the claim *token* and are open, oldest first."""
        mine = (job for job in self.get_many(ids).values() if job.claim == token and not job.state.terminal)
        return sorted(mine, key=lambda job: job.id)

    def renew(self, ids: Iterable[ObjectId], hold_s: float, done: int) -> None:
        """Hold jobs for another *hold_s* seconds: they are being finished, and came to *done* addresses."""
        until = utc_now() + timedelta(seconds=hold_s)
        self._collection.update_many(
            {"_id": {"$in": list(ids)}, "state": _OPEN}, {"$set": {"claimed_until": until, "done": done}}
        )

    def save_reviews(self, jobs: Iterable[Job], token: ObjectId) -> None:
        """Keep *jobs*, which have the claim *token*, as hooks would have them; what was kept once stays as it is.

        That hooks were asked does not count as an attempt of its own.
        """
        mine: Bson = {"state": _OPEN, "consulted": {"$ne": True}, "claim": token}
        as_they_were = []
        for job in jobs:
            if job.audit_context.amended_by is None and job.refused is None:
                as_they_were.append(job.id)
                continue
            kept: Bson = {"consulted": True, **request_to_bson(job.request), "origin": job.audit_context.to_json()}
            if job.refused is not None:
                kept["refused"] = dumps(job.refused)
            self._collection.update_one({"_id": job.id, **mine}, {"$set": kept, "$inc": {"attempts": -1}})
        if as_they_were:
            self._collection.update_many(
                {"_id": {"$in": as_they_were}, **mine}, {"$set": {"consulted": True}, "$inc": {"attempts": -1}}
            )

    def give_turn(self, job: Job, token: ObjectId) -> None:
        """Keep how far *job*, which has the claim *token*, has come, and let anyone go on with it.

        That it was begun by this one does not count as an attempt of its own.
        """
        come_to = {"position": job.position, "done": job.done, "claim": None, "claimed_until": NOT_CLAIMED}
        self._collection.update_one(
            {"_id": job.id, "state": _OPEN, "claim": token}, {"$set": come_to, "$inc": {"attempts": -1}}
        )

    def finish(self, id_: ObjectId) -> None:
        """Close a job whose work is done, whichever worker did it."""
        closed = _close({"state": JobState.SUCCEEDED.value}, utc_now())
        self._collection.update_one({"_id": id_, "state": _OPEN}, closed)

    def decide(self, ids: Iterable[ObjectId], token: ObjectId) -> set[ObjectId]:
        """Make the grants of claim *token* count, for those of *ids* that still carry it; returns these."""
        wanted = list(ids)
        if not wanted:
            return set()
        written = self._collection.update_many(
            {"_id": {"$in": wanted}, "claim": token, "state": JobState.RUNNING.value, "decision": None},
            {"$set": {"decision": token}},
        )
        if written.modified_count == len(wanted):
            return set(wanted)
        decided = self._collection.find({"_id": {"$in": wanted}, "decision": token}, {"_id": 1})
        return {bson["_id"] for bson in decided}

    def disown(self, ids: Iterable[ObjectId], token: ObjectId | None = None) -> None:
        """Take undecided jobs from the worker that has them (claim *token*, None: any), free for the next."""
        wanted: Bson = {"_id": {"$in": list(ids)}, "state": JobState.RUNNING.value, "decision": None}
        if token is not None:
            wanted["claim"] = token
        freed = {"claim": None, "claimed_until": NOT_CLAIMED}
        self._collection.update_many(wanted, {"$set": freed})

    def success(self, ended: Iterable[Job]) -> Writes:
        """Return the writes that close jobs which have *ended* well; equal ones are one update."""
        alike: dict[tuple[Any, ...], list[ObjectId]] = {}
        for job in ended:
            alike.setdefault((job.attempts, job.started_at, job.finished_at), []).append(job.id)
        updates: list[tuple[Bson, Bson]] = []
        for (attempts, started_at, at), ids in alike.items():
            done = {"state": JobState.SUCCEEDED.value, "attempts": attempts, "started_at": started_at}
            named = ({"_id": among(chunk), "state": _OPEN} for chunk in chunks(ids, KEYS_CHUNK))
            updates += [(jobs, _close(done, at)) for jobs in named]
        return Writes("jobs", updates=updates)

    def fail(self, errors: Iterable[tuple[Job, Bson]], token: ObjectId) -> None:
        """Close jobs that were not decided and still carry the claim *token*, each with its error."""
        mine = {"state": _OPEN, "decision": None, "claim": token}
        self._end((mine, _failed(job, error)) for job, error in errors)

    def abandon(self, job: Job, error: Bson) -> None:
        """Close a job that has its addresses and cannot be finished."""
        self._end([({"state": _OPEN}, _failed(job, error))])

    def cancel(self, job: Job, token: ObjectId) -> bool:
        """Close *job*, which has the claim *token*, as cancelled; False if it is decided, closed, or another's."""
        cancelled = replace(job, state=JobState.CANCELLED, audit_context=current_audit_context())
        return self._end([({"state": _OPEN, "decision": None, "claim": token}, cancelled)])

    def _end(self, ends: Iterable[tuple[Bson, Job]]) -> bool:
        """Close jobs as given, each if its condition holds, and tell of it; True if any was closed."""
        told: list[tuple[Job, Event]] = []
        for condition, open_job in ends:
            job = replace(open_job, finished_at=utc_now(), revision=open_job.revision + 1)
            event = event_factory.failed(job)
            error = error_to_bson(job.error) if job.error is not None else {}
            closed = _close({"state": job.state.value, **error}, event.time)
            if self._collection.update_one({"_id": job.id, **condition}, telling(closed, event)).modified_count:
                told.append((job, event))
        self._tell_of(told)
        return bool(told)

    def ended(self, ids: Iterable[ObjectId]) -> list[Job]:
        """Return those of *ids* that have reached a terminal state."""
        found = self._stored(ids)
        return [Job.from_bson(bson) for bson in found if bson["state"] not in _OPEN_STATES]

    def counted(self) -> Iterator[tuple[ObjectId, ObjectId, int]]:
        """Yield the id, the target and the number of addresses of each open job that was stored as counted."""
        found = self._collection.find({"keys": COUNTED}, {"target": 1, "count": 1})
        yield from ((bson["_id"], bson["target"], bson["count"]) for bson in found)

    def open(self) -> tuple[int, datetime | None]:
        """Return how many jobs have not ended, 10,000 at most, and when the oldest of them was accepted."""
        ids = [bson["_id"] for bson in self._collection.find({"keys": OPEN}, {"_id": 1}).limit(LIMIT_MAX)]
        return len(ids), min(ids).generation_time if ids else None

    def stranded(self, grace_s: float, hold_s: float) -> list[ObjectId]:
        """Targets with a job that has been queued for *grace_s* seconds or whose worker has fallen silent.

        A worker has claimed it for *hold_s* seconds.
        """
        lost: Bson = {
            "keys": OPEN,
            "claimed_until": held_for(hold_s).outside(),
            "created_at": begun_within(grace_s).outside(),
        }
        return list({bson["target"] for bson in self._collection.find(lost, {"target": 1})})


def _failed(job: Job, error: Bson) -> Job:
    return replace(job, state=JobState.FAILED, error=error)


def _close(fields: Bson, at: datetime) -> Bson:
    return {
        "$set": {**fields, "finished_at": at, "keys": expiry_keys(at + KEEP_JOBS)},
        "$inc": {"revision": 1},
    }
