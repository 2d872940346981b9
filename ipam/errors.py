"""The one tree of errors; each branch says what the caller may do about it.

`Rejected`: change the request. `Stale`: read again, then decide. `Transient`: try again.
How they look over HTTP is decided in one place, `ipam.api.http.problems`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Self

# Of a body with more faults than that the first ones are told.
_FAULTS_SHOWN = 100


class IpamError(Exception):
    """An error with a stable *slug*, a sentence for people and facts for programs.

    Attributes:
        slug: The last part of the problem's type, explained in docs/errors.md.
        detail: One or two sentences that say what is wrong and what to change.
        facts: Extra members of the problem, JSON only.
    """

    slug: ClassVar[str]
    _by_slug: ClassVar[dict[str, type[IpamError]]] = {}

    def __init__(self, detail: str, **facts: Any) -> None:
        super().__init__(detail)
        self.detail = detail
        self.facts = facts

    def __init_subclass__(cls) -> None:
        """Make the class that introduces a slug findable by it, to rebuild the error from a job's record."""
        if "slug" in vars(cls):
            IpamError._by_slug[cls.slug] = cls

    def to_record(self) -> dict[str, Any]:
        """Return the error as plain JSON, as a job keeps it."""
        return {"slug": self.slug, "detail": self.detail, "facts": self.facts}

    @staticmethod
    def from_record(record: dict[str, Any]) -> IpamError:
        """Rebuild the error that `to_record` described."""
        return IpamError._by_slug[record["slug"]](record["detail"], **record["facts"])


class Rejected(IpamError):
    """The request cannot be carried out as it is; sending it again will not help."""


class MalformedJson(Rejected):
    """The body is not JSON."""

    slug = "malformed-json"


class InvalidParameter(Rejected):
    """A query parameter or a header has a value that it cannot have."""

    slug = "invalid-parameter"


class UnknownParameter(Rejected):
    """A query parameter that this route does not know."""

    slug = "unknown-parameter"


class ValidationFailed(Rejected):
    """The body is JSON but breaks a rule; `errors` points at each place."""

    slug = "invalid"

    @classmethod
    def at(cls, pointer: str, detail: str) -> Self:
        """Return one fault at one place, *pointer* being a JSON pointer (RFC 6901)."""
        return cls.of([(pointer, detail)])

    def within(self, pointer: str) -> Self:
        """Return the error for a part of a body, which *pointer* leads to."""
        faults = [(pointer + fault["pointer"], fault["detail"]) for fault in self.facts["errors"]]
        return type(self).of(faults)

    @classmethod
    def of(cls, faults: Sequence[tuple[str, str]]) -> Self:
        """Return several *faults*, each with its place and what is wrong there."""
        shown = faults[:_FAULTS_SHOWN]
        detail = "; ".join(f"{pointer or 'body'}: {text}" for pointer, text in shown)
        if more := len(faults) - len(shown):
            detail += f"; and {more} more faults"
        return cls(detail, errors=[{"pointer": pointer, "detail": text} for pointer, text in shown])


class NotFound(Rejected):
    """There is no such thing, or not any more."""

    slug = "not-found"


class NotAcceptable(Rejected):
    """None of the media types of `Accept` can be sent."""

    slug = "not-acceptable"


class UnsupportedMediaType(Rejected):
    """The body's media type or version is not one that this route reads."""

    slug = "unsupported-media-type"


class CrossSite(Rejected):
    """A page of another site has sent the request."""

    slug = "cross-site"


class Unauthorized(Rejected):
    """The request has no token, or one that cannot be used."""

    slug = "unauthorized"


class Forbidden(Rejected):
    """The token of the request may not do this; `role`, if it is given, is what would be needed."""

    slug = "forbidden"


class TooManyAttempts(Rejected):
    """The caller's address has sent wrong tokens too often; it may try again after `retry_after` seconds."""

    slug = "too-many-attempts"


class TooLarge(Rejected):
    """The body is over the limit."""

    slug = "too-large"


class SubnetOverlap(Rejected):
    """The range shares addresses with another subnet of its pool."""

    slug = "subnet-overlap"


class Exhausted(Rejected):
    """Fewer addresses are free than were asked for."""

    slug = "exhausted"


class AddressTaken(Rejected):
    """Certain addresses were asked for that are not all free; `addresses` names those that are not."""

    slug = "address-taken"


class NotEmpty(Rejected):
    """A deletion that was not to cascade met something inside."""

    slug = "not-empty"


class RejectedByHook(Rejected):
    """A hook does not allow the change; `hook` and `reason` say which and why."""

    slug = "rejected"


class RetriesExhausted(Rejected):
    """A job that failed for reasons of our own, however often it was tried."""

    slug = "given-up"


class NotQueued(Rejected):
    """Only a job that no worker has begun can be cancelled."""

    slug = "not-queued"


class Stale(IpamError):
    """The document has changed since it was read."""

    slug = "stale"


class Transient(IpamError):
    """A part that is needed did not answer; the same request may succeed later."""

    slug = "unavailable"


class HookUnavailable(Transient):
    """A hook without whose answer the change may not be made gave none; `hook` and `reason` say which and why."""


class AccessDenied(Transient):
    """The database knows no such user or password, yet, or does not allow this user what is needed.

    Attributes:
        said: The database's own message, which is for operators and not for callers.
    """

    def __init__(self, said: str) -> None:
        super().__init__("The database does not let ipam in.")
        self.said = said


class DatabaseFault(Transient):
    """The database answers with an error of its own, as one does whose disk is full; or whatever is asked of it.

    To callers it is one that does not answer. But it need not pass: what meets it again and again is given up.
    """


class WriteConflict(Transient):
    """A conditional write lost to another; `retry_on_conflict` reads again and tries again.

    Not `Stale`: the caller named no revision, and may send the same request again as it is.
    """


class InvalidSettings(IpamError):
    """The command cannot start as it was called; the text lists every fault."""

    slug = "invalid-settings"


def passes(error: Exception) -> bool:
    """Return whether *error* says nothing of what was being done, and is over when the part that failed is back."""
    return isinstance(error, Transient) and not isinstance(error, DatabaseFault)
