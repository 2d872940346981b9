"""Guarantee 5: whether the log has every change, once, and in order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from mongomock import Database

from ipam.storage.outbox import TELLING

Bson = dict[str, Any]


def is_all_told(plain: Database) -> bool:
    """Whether everything that happened is in the log; whether it is right, `faults_of_events` says."""
    untold = any(plain[name].count_documents({"outbox_since": {"$exists": True}}) for name in (*TELLING, "leases"))
    untidy = plain["marks"].count_documents({"changed_at": {"$exists": True}})
    return not untold and not untidy and not plain["events"].count_documents({})


def faults_of_events(plain: Database) -> Iterator[str]:
    """What is wrong with the events when nobody is at work any more."""
    told = list(_told(plain))
    yield from _sequences(plain)
    yield from _order(told)
    ids, expected = {event["id"] for event in told}, set(_expected(plain, told))
    yield from (f"{id_} was never told" for id_ in sorted(expected - ids))
    yield from (f"{id_} was told and never happened" for id_ in sorted(ids - expected))


def faults_of_bus(plain: Database, heard: list[int]) -> Iterator[str]:
    """What is wrong with what the bus was told: all from its first sequence on, each first heard in turn."""
    last = max((group["last"] for group in plain["log"].find({})), default=0)
    first_heard = list(dict.fromkeys(heard))
    if first_heard and first_heard != list(range(first_heard[0], last + 1)):
        yield f"the bus heard {first_heard}, and the log ends with {last}"


def _told(plain: Database) -> Iterator[Bson]:
    for group in plain["log"].find({}).sort("_id", 1):
        yield from group["events"]


def _sequences(plain: Database) -> Iterator[str]:
    """Every event has one, each has one event, and there is no gap."""
    following = 1
    seen: set[str] = set()
    for group in plain["log"].find({}).sort("_id", 1):
        if (group["_id"], group["last"]) != (following, following + len(group["events"]) - 1):
            yield f"the log goes on with {group['_id']} to {group['last']} instead of {following}"
        following = group["last"] + 1
        for event in group["events"]:
            if event["id"] in seen:
                yield f"{event['id']} is in the log twice"
            seen.add(event["id"])


def _order(told: list[Bson]) -> Iterator[str]:
    """No event comes before an earlier one of the same resource."""
    last: dict[str, int] = {}
    for event in told:
        path, revision = event["paths"][0], event["revision"]
        if revision <= last.get(path, 0):
            yield f"{event['id']} came after revision {last[path]}"
        last[path] = revision


def _expected(plain: Database, told: list[Bson]) -> Iterator[str]:
    """The ids of all that happened: a resource's revisions, each being a change, and jobs that came to nothing."""
    for kind in ("pool", "subnet", "reservation"):
        for one in plain[f"{kind}s"].find({}):
            # A subnet that was never shown was never changed by anybody.
            was_seen = one["state"] != "deleted" or one["revision"] > 1
            yield from (f"{kind}-{one['_id']}-{n}" for n in range(1, one["revision"] + 1) if was_seen)
    # That a lease was made, its reservation tells. What was given back has no revision any more but what was told.
    held = {str(one["lease"]): one["revision"] for one in plain["leases"].find({"lease": {"$exists": True}})}
    revisions = Counter(held)
    for event in told:
        id_ = event["paths"][0].removeprefix("/leases/")
        if event["type"].startswith("ipam.lease.") and id_ not in held:
            revisions[id_] = max(event["revision"], revisions[id_])
    for id_, revision in revisions.items():
        yield from (f"lease-{id_}-{n}" for n in range(2, revision + 1))
    for job in plain["jobs"].find({"state": {"$in": ["failed", "cancelled"]}}):
        yield f"job-{job['_id']}-ended"
