"""A subnet."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from ipaddress import ip_network
from typing import Annotated, ClassVar

from bson import ObjectId

from ipam.models.addresses import Address, to_place
from ipam.models.audit_context import AUDIT_CONTEXT, AuditContext
from ipam.models.document import Document
from ipam.models.fields import (
    ADDRESS,
    LARGE_INTEGER,
    OBJECT_ID,
    PLACE,
    TEXTS,
    Access,
    Bson,
    Codec,
    Field,
    Stored,
    enumeration,
)
from ipam.models.ledger import Ledger

_SHARE_DIGITS = 6
_SHARE_LEAST = 10**-_SHARE_DIGITS
_LEDGER = Codec(Ledger.to_bson, Ledger.from_bson)


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


# Something may still hang on a subnet in one of these.
LIVING = (SubnetState.CREATING, SubnetState.ACTIVE, SubnetState.DELETING)


@dataclass(frozen=True, slots=True, kw_only=True)
class Subnet(Document):
    """A range of addresses, both ends included, and the ledger of what is taken from it.

    `low` and `high` in its document are the ends of what it holds, so that an address finds it.

    `size` is how many addresses it can give out; it may exceed 64 bits and is stored as text.

    Attributes:
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
    state: Annotated[SubnetState, Field(codec=enumeration(SubnetState))] = SubnetState.CREATING
    ledger: Annotated[Ledger, Field(codec=_LEDGER)] = field(default_factory=Ledger)
    deleted_by: Annotated[AuditContext, Field(codec=AUDIT_CONTEXT, stored=Stored.APART)] = field(
        default_factory=AuditContext
    )

    @property
    def used(self) -> Annotated[int, Field(Access.COMPUTED)]:
        """How many of its addresses are taken."""
        return self.ledger.used

    @property
    def free(self) -> Annotated[int, Field(Access.COMPUTED)]:
        """How many it can still give out."""
        return self.size - self.used

    @property
    def utilization(self) -> Annotated[float, Field(Access.COMPUTED)]:
        """How much of it is taken, to six digits: 0 only of none, 1 only of all."""
        share = round(self.used / self.size, _SHARE_DIGITS)
        return min(max(share, _SHARE_LEAST), 1 - _SHARE_LEAST) if 0 < self.used < self.size else share

    @property
    def held(self) -> tuple[Address, Address]:
        """First and last address that it keeps from other subnets of its pool: of a CIDR all of it."""
        if self.cidr is None:
            return self.start, self.end
        network = ip_network(self.cidr)
        return network[0], network[-1]

    def to_bson(self) -> Bson:
        """Return the stored form."""
        low, high = self.held
        return {**Document.to_bson(self), "low": to_place(low), "high": to_place(high)}
