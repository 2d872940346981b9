"""The reservation request of a job."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from ipam.models.subnet import Strategy

COUNT_MAX = 65_536


class Spread(StrEnum):
    """In which order the subnets of a pool are taken from."""

    IN_ORDER = "in-order"
    MOST_FREE = "most-free"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReservationRequest:
    """The addresses that a reservation is to hold, and what it is to carry.

    Attributes:
        count: How many addresses, in all.
        addresses: These very ones; none means any.
        contiguous: Whether each is to follow the one before.
        strategy: Which of the free ones; None means as the subnet has it.
        spread: Which subnets of a pool come first.
        ipv4: How many of the addresses are to be of this family; 0 with 0 of the other means any.
        ipv6: Likewise.
    """

    name: str = ""
    tags: tuple[str, ...] = ()
    metadata: Any = None
    count: int = 1
    addresses: tuple[str, ...] = ()
    contiguous: bool = False
    strategy: Strategy | None = None
    spread: Spread | None = None
    ipv4: int = 0
    ipv6: int = 0

    @property
    def parts(self) -> tuple[tuple[int | None, int], ...]:
        """The version of a family, None for any, and how many addresses of it."""
        families = tuple((version, count) for version, count in ((4, self.ipv4), (6, self.ipv6)) if count)
        return families or ((None, self.count),)

    def to_json(self) -> dict[str, Any]:
        """Return the JSON that the job keeps and shows, without the options that were not given."""
        described = ("name", "tags", "metadata", "count")
        kept = {**asdict(self), "tags": list(self.tags), "addresses": list(self.addresses)}
        return {name: value for name, value in kept.items() if value or name in described}

    @classmethod
    def from_json(cls, kept: dict[str, Any]) -> ReservationRequest:
        """Return the request that `to_json` described."""
        made = {**kept, "tags": tuple(kept["tags"]), "addresses": tuple(kept.get("addresses", ()))}
        if "strategy" in made:
            made["strategy"] = Strategy(made["strategy"])
        if "spread" in made:
            made["spread"] = Spread(made["spread"])
        return cls(**made)
