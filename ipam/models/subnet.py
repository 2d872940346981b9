"""A subnet."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from ipaddress import ip_network
from typing import Annotated, ClassVar

from bson import ObjectId

from ipam.models.address_space import AddressSpace
from ipam.models.addresses import Address, to_place
from ipam.models.audit_context import AUDIT_CONTEXT, AuditContext
from ipam.models.cidr_cover import prefixes_of_subnet
from ipam.models.document import Document
from ipam.models.fields import (
    ADDRESS,
    LARGE_INTEGER,
    OBJECT_ID,
    PLACE,
    TEXTS,
    Access,
    Bson,
    Field,
    Stored,
    enumeration,
)

_SHARE_DIGITS = 6
_SHARE_LEAST = 10**-_SHARE_DIGITS


class Strategy(StrEnum):
    """The order in which free addresses are leased.

    `next` is the one after that handed out last, and from the beginning again when the end is reached.
    """

    NEXT = "next"
    LOWEST = "lowest"
    RANDOM = "random"


class SubnetState(StrEnum):
    """A subnet is shown and used only while it is active; a deleted one stays for a while as a tombstone.

    The tombstone keeps a creation that is repeated, or was asleep for long, from bringing the subnet back.
    """

    CREATING = "creating"
    ACTIVE = "active"
    DELETING = "deleting"
    DELETED = "deleted"


@dataclass(frozen=True, slots=True, kw_only=True)
class Subnet(Document):
    """A range of addresses, both ends included; what is taken from it stands in its ledger.

    `low` and `high` in its document are the ends of what it holds, and `prefixes` cover it: so an address finds it.

    Attributes:
        size: How many addresses it can give out; it may exceed 64 bits and is stored as text.
        used: How many of them are taken, which its ledger says; None if that was not read.
        fence: Grows when a deletion that was begun is not to go on.
        deleted_by: Where its deletion comes from, and with it all that happens to its reservations.
    """

    type_name: ClassVar[str] = "subnet"

    pool: Annotated[ObjectId, Field(Access.FIXED, OBJECT_ID)]
    start: Annotated[Address, Field(Access.FIXED, PLACE)]
    end: Annotated[Address, Field(Access.FIXED, PLACE)]
    cidr: Annotated[str | None, Field(Access.FIXED)] = None
    gateway: Annotated[Address | None, Field(Access.FIXED, ADDRESS)] = None
    exclusions: Annotated[tuple[str, ...], Field(Access.FIXED, TEXTS)] = ()
    strategy: Annotated[Strategy, Field(Access.FIXED, enumeration(Strategy))] = Strategy.NEXT
    cooldown: Annotated[int, Field(Access.FIXED)] = 0
    size: Annotated[int, Field(Access.COMPUTED, LARGE_INTEGER)]
    used: Annotated[int | None, Field(Access.COMPUTED, stored=Stored.NEVER)] = None
    state: Annotated[SubnetState, Field(codec=enumeration(SubnetState))] = SubnetState.CREATING
    fence: Annotated[int, Field()] = 0
    deleted_by: Annotated[AuditContext, Field(codec=AUDIT_CONTEXT, stored=Stored.APART)] = field(
        default_factory=AuditContext
    )

    @property
    def free(self) -> Annotated[int | None, Field(Access.COMPUTED)]:
        """How many it can still give out."""
        return None if self.used is None else self.size - self.used

    @property
    def utilization(self) -> Annotated[float | None, Field(Access.COMPUTED)]:
        """How much of it is taken, to six digits: 0 only of none, 1 only of all."""
        if self.used is None:
            return None
        share = round(self.used / self.size, _SHARE_DIGITS)
        return min(max(share, _SHARE_LEAST), 1 - _SHARE_LEAST) if 0 < self.used < self.size else share

    @property
    def held(self) -> tuple[Address, Address]:
        """First and last address that it keeps from other subnets of its pool: of a CIDR all of it."""
        if self.cidr is None:
            return self.start, self.end
        network = ip_network(self.cidr)
        return network[0], network[-1]

    @property
    def space(self) -> AddressSpace:
        """The addresses that it may hand out."""
        return AddressSpace.of_subnet(self.start, self.end, self.gateway, self.exclusions)

    def to_bson(self) -> Bson:
        """Return the stored form."""
        low, high = self.held
        range_ = {"low": to_place(low), "high": to_place(high), "prefixes": prefixes_of_subnet(self.held)}
        return {**Document.to_bson(self), **range_}
