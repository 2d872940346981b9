"""Events: CloudEvents 1.0."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from ipam.wire.model import Json, Path, Time, WireModel

Sequence = Annotated[str, Field(pattern="^[0-9]{20}$")]


class Event(WireModel):
    """A change, as a CloudEvent."""

    specversion: Literal["1.0"]
    """The version of CloudEvents."""
    id: str
    """Made of the resource and its revision: the same event has the same id, however often it is delivered."""
    source: Path
    """`/` and the name of the database."""
    type: Annotated[str, Field(pattern=r"^ipam\.[a-z]+\.[a-z]+$")]
    """The type of the change, such as `ipam.reservation.created`."""
    subject: Path
    """The path of the resource."""
    time: Time
    """The time of the change."""
    sequence: Sequence
    """Its place in the log, which has no gaps."""
    actor: str | None = None
    """The caller that asked for the change."""
    requestid: str | None = None
    """The id of that request."""
    traceparent: str | None = None
    """The place of that request in a trace."""
    amendedby: str | None = None
    """The hooks that have changed what was asked for."""
    datacontenttype: Literal["application/json"]
    """The type of `data`."""
    data: Json
    """The resource after the change; of an update `before` has the fields that were changed, as they were."""


class Events(WireModel):
    """A page of the audit log."""

    media_kind: ClassVar[str] = "events"

    events: list[Event]
    """In the order of their sequence."""
    after: Sequence
    """The sequence to go on after."""
    next: Path | None = None
    """The next page; missing on the last one."""
