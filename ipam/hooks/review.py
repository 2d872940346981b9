"""The review of one change by hooks: what they are asked, and what they have answered so far."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace
from typing import Any, Generic, TypeVar

from ipam.errors import HookUnavailable, RejectedByHook, ValidationFailed
from ipam.hooks.config import Hook
from ipam.models.audit_context import AuditContext
from ipam.models.description import Described, described, is_described_alike, patched
from ipam.util.lossless_json import dumps, loads

Json = dict[str, Any]
T = TypeVar("T", bound=Described)

_REASON_MAX = 1000


class UnusableAnswer(Exception):
    """An answer says neither that the change is allowed nor that it is not."""


@dataclass(slots=True)
class AdmissionReview(Generic[T]):
    """A change that hooks are asked about.

    Attributes:
        change: Such as `pool.create`.
        paths: The paths of the resource that is changed, and of those that it is in.
        before: The resource as it is, None if it is to be created.
        after: The resource as it would be, None if it is to be deleted.
        show: Makes the JSON of *after*.
        amended_by: The names of the hooks that have amended *after*.
        refusal: Why the change must not be made, if that is so.
    """

    change: str
    paths: Collection[str]
    before: Json | None
    after: T | None
    show: Callable[[T], Json]
    audit_context: AuditContext
    amended_by: list[str] = field(default_factory=list)
    refusal: RejectedByHook | HookUnavailable | None = None

    def question(self, hook: Hook) -> bytes:
        """Return the question to *hook*, as it goes over the bus."""
        asked = {
            "hook": hook.name,
            "change": self.change,
            "before": self.before,
            "after": None if self.after is None else self.show(self.after),
            "actor": self.audit_context.actor,
            "request_id": self.audit_context.request_id,
            "traceparent": self.audit_context.traceparent,
        }
        return dumps(asked).encode()

    def take(self, hook: Hook, answer: bytes) -> None:
        """Refuse or amend the change as the *answer* of *hook* says, or leave it as it is.

        Raises:
            UnusableAnswer: If the answer does not say whether the change is allowed.
        """
        try:
            said = _object(loads(answer.decode()), "it")
        except (ValueError, RecursionError) as error:
            raise UnusableAnswer(f"its answer cannot be used: {error}") from None
        if said.get("allow") is False:
            self._reject(hook, str(said.get("reason") or "it gave no reason"))
        elif said.get("allow") is not True:
            if "error" in said:
                raise UnusableAnswer(f"its function failed with {said['error']}; its own log says more")
            raise UnusableAnswer('its answer cannot be used: it has neither "allow": true nor "allow": false')
        elif self.after is not None and said.get("patch") is not None:
            self._amend(hook, self.after, said["patch"])

    def refuse_for_now(self, hook: str, reason: str) -> None:
        """Refuse the change because *hook*, which has to allow it, has given no usable answer."""
        message = f"The hook {hook} has to allow it and gave no answer: {reason}. Send the request again."
        self.refusal = HookUnavailable(message, hook=hook, reason=reason)

    @property
    def amended_context(self) -> AuditContext:
        """The audit context with the hooks that have amended the change."""
        return replace(self.audit_context, amended_by=", ".join(self.amended_by) or None)

    def _amend(self, hook: Hook, after: T, patch: Any) -> None:
        """Apply *patch*; if it breaks a rule, refuse the change, which *hook* has not allowed without the patch."""
        try:
            amended = patched(after, _object(patch, "its patch"))
        except (ValueError, RecursionError, ValidationFailed) as error:
            self._reject(hook, f"its patch cannot be used: {error}")
            return
        if not is_described_alike(amended, after):
            self.after = amended
            self.amended_by.append(hook.name)

    def _reject(self, hook: Hook, reason: str) -> None:
        reason = reason[:_REASON_MAX]
        message = f"The hook {hook.name} does not allow it: {reason}"
        self.refusal = RejectedByHook(message, hook=hook.name, reason=reason)


@dataclass(frozen=True, slots=True)
class DryRunObject:
    """A resource as the file of `ipam hook test` has it: its description, and the *rest* of its JSON."""

    name: str
    tags: tuple[str, ...]
    metadata: Any
    rest: Json

    def to_json(self) -> Json:
        """Return its JSON."""
        return {**self.rest, "name": self.name, "tags": list(self.tags), "metadata": self.metadata}

    @classmethod
    def from_json(cls, given: Json) -> DryRunObject:
        """Return the resource with this JSON.

        Raises:
            ValidationFailed: If its name, tags or metadata break a rule.
        """
        own: Json = {name: given[name] for name in ("name", "tags", "metadata") if name in given}
        return cls(**described(own), rest={name: value for name, value in given.items() if name not in own})


def _object(value: Any, what: str) -> Json:
    if not isinstance(value, dict):
        message = f"{what} is no JSON object"
        raise ValueError(message)  # noqa: TRY004 (it came from outside: a value, and not a mistake of ours)
    return value
