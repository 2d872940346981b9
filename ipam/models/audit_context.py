"""The audit context of a change: its caller and its request. Every event has it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import asdict, dataclass
from typing import Any

from ipam.models.fields import Codec


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditContext:
    """The caller and the request of a change; a part that is not known is None.

    Attributes:
        actor: The name of the caller.
        request_id: The id of the HTTP request.
        traceparent: The request's place in a trace, as W3C Trace Context has it.
        amended_by: The names of the hooks that have amended the change, separated by commas.
    """

    actor: str | None = None
    request_id: str | None = None
    traceparent: str | None = None
    amended_by: str | None = None

    def to_json(self) -> dict[str, str]:
        """Return the stored form: the parts that are known."""
        return {name: value for name, value in asdict(self).items() if value is not None}

    @classmethod
    def from_json(cls, kept: Mapping[str, Any] | None) -> AuditContext:
        """Return the audit context that `to_json` stored; of None an empty one."""
        return cls(**(kept or {}))


AUDIT_CONTEXT = Codec(AuditContext.to_json, AuditContext.from_json)
_current: ContextVar[AuditContext | None] = ContextVar("audit_context", default=None)


def current_audit_context() -> AuditContext:
    """Return the audit context of what this thread does."""
    return _current.get() or AuditContext()


def set_audit_context(audit_context: AuditContext | None) -> None:
    """Give what this thread does from now on another audit context."""
    _current.set(audit_context)


@contextmanager
def use_audit_context(audit_context: AuditContext) -> Iterator[None]:
    """Give what is done within the block another audit context."""
    token = _current.set(audit_context)
    try:
        yield
    finally:
        _current.reset(token)
