"""The model: what clients have asked for and what they were told, in a dictionary and two sets."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Answer:
    """What one request was told."""

    status: int
    location: str | None

    @property
    def final(self) -> bool:
        """Whether the same request, sent again, must be told the same."""
        return self.status != 202 and self.status < 500


@dataclass(eq=False, slots=True)
class Wish:
    """A POST, sent once or, under its key, more often."""

    path: str
    body: dict[str, Any]
    key: str | None
    sent: int = 0
    answers: list[Answer] = field(default_factory=list)


@dataclass(slots=True)
class Book:
    """Everything that clients know.

    Attributes:
        wishes: The POSTs.
        deletions: How many requests to delete a path were sent and not refused: it may be gone, now or later.
        gone: Paths whose deletion was answered with success.
        given_back: For each reservation the leases of it that somebody asked to give back.
        broken: What was seen on the way that must never be, first of all.
    """

    wishes: list[Wish] = field(default_factory=list)
    deletions: Counter[str] = field(default_factory=Counter)
    gone: set[str] = field(default_factory=set)
    given_back: dict[str, set[str]] = field(default_factory=dict)
    broken: list[str] = field(default_factory=list)

    @property
    def doomed(self) -> set[str]:
        """The paths that may be gone."""
        return {path for path, sent in self.deletions.items() if sent}
