"""Subnets in whatever state, drawn by hypothesis."""

from dataclasses import dataclass
from datetime import UTC, datetime
from ipaddress import IPv4Address, ip_address

from bson import ObjectId
from hypothesis import strategies as st

from ipam.models.address_set import AddressSet
from ipam.models.addresses import to_number
from ipam.models.block import Block
from ipam.models.ledger import Grant, Ledger, LedgerState, Release
from ipam.models.subnet import Strategy

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SUBNET = ObjectId()
Addresses = frozenset[IPv4Address]


@dataclass(frozen=True)
class Situation:
    """A subnet across two blocks: its addresses, those excluded, taken, on their way out and back, and a cursor."""

    inside: list[IPv4Address]
    excluded: Addresses
    taken: Addresses
    going: Addresses
    coming: Addresses
    cursor: IPv4Address | None

    @property
    def free_in_turn(self) -> list[IPv4Address]:
        """From the address after the cursor on, and round."""
        behind = self.inside.index(self.cursor) + 1 if self.cursor is not None else 0
        gone = self.excluded | self.taken | self.going
        return [one for one in self.inside[behind:] + self.inside[:behind] if one not in gone]

    @property
    def free(self) -> list[IPv4Address]:
        return sorted(self.free_in_turn)

    @property
    def blocks(self) -> dict[int, Block]:
        """Those that are stored."""
        sets = AddressSet.of(self.taken).blocks
        return {number: Block(subnet=SUBNET, number=number, taken=some) for number, some in sets.items()}

    def ledger(self, strategy: Strategy = Strategy.NEXT) -> Ledger:
        return a_ledger(
            self.inside[0],
            self.inside[-1],
            strategy=strategy,
            exclusions=tuple(map(str, self.excluded)),
            version=7,
            used=len(self.taken | self.going),
            cursor=None if self.cursor is None else to_number(self.cursor),
            grants=(a_grant(self.going),) if self.going else (),
            releases=(a_release(self.coming),) if self.coming else (),
        )


@st.composite
def situations(draw: st.DrawFn) -> Situation:
    start = ip_address("10.0.255.240")
    inside = [start + n for n in range(draw(st.integers(1, 32)))]
    some = st.frozensets(st.sampled_from(inside))
    excluded, taken, going, coming = draw(some), draw(some), draw(some), draw(some)
    taken -= excluded
    cursor = draw(st.one_of(st.none(), st.sampled_from(inside)))
    return Situation(inside, excluded, taken, going - excluded - taken, coming & taken, cursor)


def a_ledger(start, end, **rest):
    return Ledger(id=SUBNET, pool=ObjectId(), start=start, end=end, size=0, state=LedgerState.OPEN, **rest)


def a_grant(some):
    return Grant(
        batch=ObjectId(), job=ObjectId(), reservation=ObjectId(), addresses=AddressSet.of(some), version=3, at=NOW
    )


def a_release(some):
    return Release(id=ObjectId(), reservation=ObjectId(), addresses=AddressSet.of(some), is_partial=False, at=NOW)
