"""Whether a request was refused although enough was free all the time that it was open."""

from __future__ import annotations

import json
from collections.abc import Iterator

from bson import ObjectId
from mongomock import Database

from ipam.models.ledger import Release


class Refusals:
    """Follows what is free in each subnet, command by command; addresses on their way back count as free."""

    def __init__(self, plain: Database) -> None:
        self._plain = plain
        self._free: dict[ObjectId, list[int]] = {}
        self._open: dict[ObjectId, int] = {}

    def after_write(self, collection: str) -> list[str]:
        """What is wrong since *collection* was written to."""
        if collection == "ledgers":
            self._follow()
        return list(self._judge()) if collection == "jobs" else []

    def _follow(self) -> None:
        for ledger in self._plain["ledgers"].find({"state": "open"}):
            back = sum(len(Release.from_bson(one).addresses) for one in ledger["releases"])
            self._free.setdefault(ledger["_id"], []).append(int(ledger["size"]) - ledger["used"] + back)

    def _judge(self) -> Iterator[str]:
        for job in self._plain["jobs"].find({"subnet": {"$ne": None}}):
            id_, free = job["_id"], self._free.get(job["subnet"], [0])
            if job["state"] in ("queued", "running"):
                self._open.setdefault(id_, len(free) - 1)
            elif id_ in self._open:
                least = min(free[self._open.pop(id_) :])
                request = json.loads(job["request"])
                was_refused = job["state"] == "failed" and "exhausted" in job["error"]
                # Many may be free and not so many in a row.
                if was_refused and "contiguous" not in request and least >= request["count"]:
                    yield f"job {id_} was refused {request['count']} while at least {least} were free"
