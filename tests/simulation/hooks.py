"""A hook on every change, and whoever answers it: allows, refuses, amends or stays silent, at random each time."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

from mongomock import Database

from ipam.hooks.config import CHANGES, RESERVE, Hook, Silence
from tests.simulation.scheduler import Command, Scheduler

Bson = dict[str, Any]
# A mark that nobody else writes.
MARK = "amended"
HOOK = Hook(name="hook", changes=frozenset(CHANGES), subject="ipam-hooks.hook", timeout_s=2.0, silence_allows=False)


class Consumers:
    """Answers as it comes, and knows what was said about each reservation.

    Attributes:
        willing: From when this is set everything is allowed.
    """

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self.willing = False
        self.said: dict[str, set[str]] = defaultdict(set)

    def ask(self, hook: Hook, questions: Sequence[bytes]) -> list[bytes | Silence]:
        """Be asked; while it is on its way others go on, and whoever asks may die."""
        failing = self._scheduler.before_command(Command("bus.ask", (hook.subject, len(questions))))
        return [self._answer(json.loads(question), failing=failing) for question in questions]

    def _answer(self, question: Bson, *, failing: bool) -> bytes | Silence:
        verdicts = ["allow"] if self.willing else ["allow", "allow", "amend", "refuse"]
        verdict = "stay silent" if failing else self._scheduler.chance.choice(verdicts)
        if question["change"] == RESERVE or (question["change"] == "reservation.update" and verdict == "amend"):
            self.said[question["after"]["id"]].add(verdict)
        if failing:
            return Silence("it is silent")
        patch = {"patch": {"metadata": {MARK: True}}} if verdict == "amend" else {}
        return json.dumps({"allow": verdict != "refuse", "reason": "no", **patch}).encode()

    def faults(self, plain: Database) -> Iterator[str]:
        """What is wrong with reservations and refusals, beside what was said."""
        for one in plain["reservations"].find({"state": "active"}):
            yield from self._of_reservation(one)
        for job in plain["jobs"].find({"state": "failed"}):
            verdict = {"rejected": "refuse", "unavailable": "stay silent"}.get(json.loads(job["error"])["slug"])
            if verdict is not None and verdict not in self.said[str(job["reservation"])]:
                yield f"job {job['_id']} has failed as if a hook did {verdict}, and none did"
        for group in plain["log"].find({}):
            yield from (fault for event in group["events"] for fault in _of_event(event))

    def _of_reservation(self, one: Bson) -> Iterator[str]:
        said, is_marked = self.said[str(one["_id"])], MARK in one.get("metadata", "")
        if not said & {"allow", "amend"}:
            yield f"reservation {one['_id']} was allowed by nobody"
        if is_marked and "amend" not in said:
            yield f"reservation {one['_id']} was amended by nobody"
        if not is_marked and "allow" not in said:
            yield f"reservation {one['_id']} was only allowed as amended, and is as it was asked for"


def _of_event(event: Bson) -> Iterator[str]:
    """Whoever amended what was created is named in its event, and nobody else."""
    if event["type"] in ("ipam.reservation.created", "ipam.pool.created", "ipam.subnet.created"):
        is_marked, is_named = MARK in event["data"], "amended_by" in event.get("origin", {})
        if is_marked != is_named:
            yield f"{event['id']} is amended: {is_marked}, and says so: {is_named}"
