"""Deciding which addresses a batch of requests gets from a ledger; pure.

The strategy is `next`: addresses that were never used first, lowest first; then released ones, the one released
longest ago first. Both cost the same however large or full the subnet is: a cursor and a queue.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from bson import ObjectId

from ipam.allocation.ranges import Space
from ipam.models.ledgers import Grant, Ledger, Release


class Plan:
    """A ledger, and what the requests of a batch would take from it.

    Args:
        ledger: As it was read.
        space: The addresses that its subnet may hand out.
        queued: Positions of the queue, ascending and from the ledger's head on, that hold a released lease.
        batch: Token of the claim that the grants are made under.
        now: The time that they get.
    """

    def __init__(self, ledger: Ledger, space: Space, queued: Sequence[int], batch: ObjectId, now: datetime) -> None:
        self._ledger = ledger
        self._space = space
        self._queued = queued
        self._batch = batch
        self._now = now
        self._fresh_left = space.left(ledger.cursor)
        self.grants: list[Grant] = []

    @property
    def available(self) -> int:
        """How many addresses can still be taken."""
        return self._fresh_left + len(self._queued)

    @property
    def ledger(self) -> Ledger:
        """The ledger as the batch would leave it."""
        return self._ledger

    def take(self, job: ObjectId, reservation: ObjectId, count: int) -> None:
        """Take *count* addresses, of which there must be as many, for a job."""
        ledger = self._ledger
        fresh = min(count, self._fresh_left)
        runs, cursor = self._space.take(ledger.cursor, fresh) if fresh else ((), ledger.cursor)
        recycled = self._queued[: count - fresh]
        head = recycled[-1] + 1 if recycled else ledger.head
        grant = Grant(
            batch=self._batch,
            job=job,
            reservation=reservation,
            fresh=runs,
            recycled=(recycled[0], head) if recycled else (ledger.head, ledger.head),
            count=count,
            at=self._now,
        )
        self._fresh_left -= fresh
        self._queued = self._queued[len(recycled) :]
        self._ledger = replace(
            ledger, cursor=cursor, head=head, used=ledger.used + count, grants=(*ledger.grants, grant)
        )
        self.grants.append(grant)


def queue_release(ledger: Ledger, release: Release) -> Ledger:
    """The ledger with *release* begun: its positions are set aside, its addresses still count as used."""
    return replace(ledger, tail=release.first + release.span, releases=(*ledger.releases, release))


def withdraw(ledger: Ledger, grant: Grant, id_: ObjectId, now: datetime) -> tuple[Ledger, Release]:
    """The ledger with *grant* on its way back to the queue instead of to its job, and the release that does it."""
    release = Release(
        id=id_,
        first=ledger.tail,
        count=grant.count,
        span=grant.span,
        at=now,
        reservation=grant.reservation,
        grant=grant,
    )
    kept = tuple(other for other in ledger.grants if other != grant)
    return queue_release(replace(ledger, grants=kept), release), release
