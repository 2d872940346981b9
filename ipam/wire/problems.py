"""Errors: problem details by RFC 9457."""

from __future__ import annotations

from typing import Annotated

from pydantic import ConfigDict, Field

from ipam.wire.model import WireModel


class Fault(WireModel):
    """A fault of a body, and its place."""

    pointer: str | None = None
    """JSON pointer (RFC 6901) to the value that is wrong; empty for the body itself."""
    header: str | None = None
    """The header that is wrong, in the place of `pointer`."""
    detail: str
    """Why."""


class Problem(WireModel):
    """An error: what is wrong and what to change. Some types have members of their own, which its page explains."""

    model_config = ConfigDict(extra="allow")

    type: Annotated[str, Field(pattern="^/problems/[a-z-]+$")]
    """The type of the error, by which programs recognize it: `/problems/` and its slug."""
    title: str
    """The type in words."""
    status: Annotated[int, Field(ge=400, le=599)]
    """The HTTP status; of a failed job, that which its request is answered with."""
    detail: str
    """What is wrong this time, and what to change."""
    request_id: str | None = None
    """The id of the request; see `X-Request-Id`."""
    errors: list[Fault] | None = None
    """Of an `invalid` body, each fault."""
