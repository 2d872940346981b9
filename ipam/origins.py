"""Who asks for a change, and by which request: told with every event."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Where a change comes from; each part is None when nobody said.

    Attributes:
        actor: What whoever asks for it is called.
        request_id: Of the HTTP request.
        traceparent: Its place in a trace, as W3C Trace Context has it.
        amended_by: The hooks that have changed what was asked for, with commas between them.
    """

    actor: str | None = None
    request_id: str | None = None
    traceparent: str | None = None
    amended_by: str | None = None

    def to_json(self) -> dict[str, str]:
        """As it is stored: only what was said."""
        return {name: value for name, value in asdict(self).items() if value is not None}

    @classmethod
    def from_json(cls, kept: Mapping[str, Any] | None) -> Origin:
        """The origin that `to_json` described; what was stored before there were any has none."""
        return cls(**(kept or {}))


_current: ContextVar[Origin | None] = ContextVar("origin", default=None)


def current_origin() -> Origin:
    """Where what is done at the moment comes from."""
    return _current.get() or Origin()


def act_for(origin: Origin | None) -> None:
    """From now on, what this thread does comes from *origin*."""
    _current.set(origin)


@contextmanager
def acting_for(origin: Origin) -> Iterator[None]:
    """Within it, what is done comes from *origin*."""
    token = _current.set(origin)
    try:
        yield
    finally:
        _current.reset(token)
