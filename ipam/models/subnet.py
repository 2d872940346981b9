"""A subnet."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from ipaddress import ip_network

from bson import ObjectId

from ipam.models.addresses import Address, from_bytes, from_place, to_bytes, to_place
from ipam.models.audit_context import AuditContext
from ipam.models.document import Bson, Document, common_from_bson, common_to_bson
from ipam.models.ledger import Ledger


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

    pool: ObjectId
    start: Address
    end: Address
    size: int
    cidr: str | None = None
    gateway: Address | None = None
    exclusions: tuple[str, ...] = ()
    strategy: Strategy = Strategy.NEXT
    cooldown: int = 0
    state: SubnetState = SubnetState.CREATING
    ledger: Ledger = field(default_factory=Ledger)
    deleted_by: AuditContext = field(default_factory=AuditContext)

    def to_bson(self) -> Bson:
        """Return the stored form."""
        return {
            "_id": self.id,
            **common_to_bson(self),
            "pool": self.pool,
            "start": to_place(self.start),
            "end": to_place(self.end),
            "low": to_place(self.held[0]),
            "high": to_place(self.held[1]),
            "size": str(self.size),
            "cidr": self.cidr,
            "gateway": to_bytes(self.gateway) if self.gateway else None,
            "exclusions": list(self.exclusions),
            "strategy": self.strategy.value,
            "cooldown": self.cooldown,
            "state": self.state.value,
            "ledger": self.ledger.to_bson(),
        }

    @property
    def held(self) -> tuple[Address, Address]:
        """First and last address that it keeps from other subnets of its pool: of a CIDR all of it."""
        if self.cidr is None:
            return self.start, self.end
        network = ip_network(self.cidr)
        return network[0], network[-1]

    @classmethod
    def from_bson(cls, bson: Bson) -> Subnet:
        """Return the subnet that was stored."""
        return cls(
            id=bson["_id"],
            **common_from_bson(bson),
            pool=bson["pool"],
            start=from_place(bson["start"]),
            end=from_place(bson["end"]),
            size=int(bson["size"]),
            cidr=bson["cidr"],
            gateway=from_bytes(bson["gateway"]) if bson["gateway"] else None,
            exclusions=tuple(bson["exclusions"]),
            strategy=Strategy(bson["strategy"]),
            cooldown=bson["cooldown"],
            state=SubnetState(bson["state"]),
            ledger=Ledger.from_bson(bson["ledger"]),
            deleted_by=AuditContext.from_json(bson.get("deleted_by")),
        )
