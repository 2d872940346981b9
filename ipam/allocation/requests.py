"""What a reservation request asks for."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

COUNT_MAX = 65_536


@dataclass(frozen=True, slots=True, kw_only=True)
class ReservationRequest:
    """*count* addresses, and what the reservation that holds them is to carry."""

    name: str = ""
    tags: tuple[str, ...] = ()
    metadata: Any = None
    count: int = 1

    def to_json(self) -> dict[str, Any]:
        """As the job keeps and shows it."""
        return {**asdict(self), "tags": list(self.tags)}

    @classmethod
    def from_json(cls, kept: dict[str, Any]) -> ReservationRequest:
        """The request that `to_json` described."""
        return cls(**{**kept, "tags": tuple(kept["tags"])})
