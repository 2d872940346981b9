"""The bodies of requests: what may be written, in which form."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from ipam.models.description import NAME_MAX, Description, Text
from ipam.models.reservation_request import COUNT_MAX, Spread
from ipam.models.subnet import Strategy
from ipam.models.token import Role
from ipam.wire.model import one_of

EXCLUSIONS_MAX = 1000
ALLOWED_FROM_MAX = 100
# In one list.
REQUESTS_MAX = 1000


class SubnetBody(Description):
    """A subnet: `cidr`, or `start` and `end`."""

    start: Text | None = None
    """The first address."""
    end: Text | None = None
    """The last one, included."""
    cidr: Text | None = None
    """All of a network, of which network and broadcast address (IPv4) or the anycast address of routers (IPv6) are
    never leased."""
    gateway: Text | None = None
    """An address in it that is never leased."""
    exclusions: Annotated[list[Text], Field(max_length=EXCLUSIONS_MAX)] | None = None
    """Addresses (`a`), ranges (`a-b`) and networks in it that are never leased."""
    strategy: Annotated[Text | None, one_of(Strategy)] = None
    """The order in which free addresses are leased: after the one leased last, and from the start again at
    the end (`next`, the default), the lowest one (`lowest`), or any (`random`)."""
    cooldown: Annotated[int, Field(ge=0)] | None = None
    """0 in this version."""


class ReservationBody(Description):
    """A request for addresses: one, if nothing else is said; it is given in full or not at all."""

    count: Annotated[int, Field(ge=1, le=COUNT_MAX)] | None = None
    """So many addresses."""
    addresses: Annotated[list[Text], Field(max_length=COUNT_MAX)] | None = None
    """These very addresses."""
    contiguous: bool | None = None
    """Whether they are to follow each other."""
    strategy: Annotated[Text | None, one_of(Strategy)] = None
    """In which order free ones are taken; as the subnet says, without it."""
    spread: Annotated[Text | None, one_of(Spread)] = None
    """Of a pool: fill its subnets in the order of their addresses (the default), or begin with the emptiest."""
    ipv4: Annotated[int, Field(ge=0, le=COUNT_MAX)] | None = None
    """Of a pool, instead of `count`: so many of this family."""
    ipv6: Annotated[int, Field(ge=0, le=COUNT_MAX)] | None = None
    """Of a pool, instead of `count`: so many of this family."""


class ReservationListBody(BaseModel):
    """Independent requests for addresses, carried out in this order."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    reservations: Annotated[list[ReservationBody], Field(max_length=REQUESTS_MAX)]
    """The requests."""


class TokenPatch(Description):
    """What may be changed of a token."""

    role: Annotated[Text | None, one_of(Role)] = None
    """The role: what its requests may do; `viewer` if nothing is said."""
    expires_at: Text | None = None
    """From when on it is refused (RFC 3339); never, if nothing is said."""
    allowed_from: Annotated[list[Text], Field(max_length=ALLOWED_FROM_MAX)] | None = None
    """Networks that its requests may come from; any, if nothing is said."""
    disabled: bool | None = None
    """Whether it is refused for now."""


class TokenBody(TokenPatch):
    """A token."""

    name: Annotated[str, StringConstraints(min_length=1, max_length=NAME_MAX)]
    """The name, which the audit log shows."""
