"""Carrying out what a ledger says is on its way; every step may be done twice, by anyone, at any time."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any

from bson import ObjectId
from pyroaring import FrozenBitMap

from ipam.allocation.job_results import leases_of
from ipam.errors import WriteConflict
from ipam.models.address_set import EMPTY, AddressSet
from ipam.models.audit_context import use_audit_context
from ipam.models.block import Block
from ipam.models.fields import Bson
from ipam.models.ledger import Grant, Ledger, Release
from ipam.storage.bulk_writes import Writes
from ipam.storage.stores import Stores
from ipam.util.retry import retry_on_conflict

# Blocks by number, as they were before something was entered into the ledger: to change them needs no second look.
Blocks = Mapping[int, Block]
NOT_SEEN: Mapping[Any, Any] = MappingProxyType({})
# So many addresses go back together: that is over long before anybody takes their release for abandoned.
RELEASED_AT_ONCE = 2048


class EntryApplier:
    """Writes the leases and the blocks of grants and releases."""

    def __init__(self, stores: Stores) -> None:
        self._stores = stores

    def handing_out(
        self, ledger: Ledger, grants: Collection[Grant], ranks: Mapping[ObjectId, int], seen: Blocks = NOT_SEEN
    ) -> Iterator[Writes]:
        """Yield how the leases of *grants*, which must count, are written: a thousand at a time, or fewer.

        *ranks* are those of their first addresses in their reservations, where these are not 0.

        A lease that was written before is left alone, even when it was given back since: one without a document is
        only inserted, one with a document only taken by a grant that is younger than its last one, and neither can
        happen a second time.
        """
        blocks = self._seen_or_read(ledger.id, [grant.addresses for grant in grants], seen)
        fresh: list[Bson] = []
        recycled: list[Bson] = []
        for grant in grants:
            leases = leases_of(grant, ledger, ranks.get(grant.reservation, 0))
            held_before = (
                position in blocks[number].known
                for number, positions in grant.addresses.blocks.items()
                for position in positions
            )
            for lease, was_held in zip(leases, held_before, strict=True):
                (recycled if was_held else fresh).append(lease)
        yield from self._stores.leases.insertion(fresh)
        yield from self._stores.leases.taking(recycled)

    def put_back(self, subnet: ObjectId, releases: Collection[Release], seen: Blocks = NOT_SEEN) -> None:
        """Give the addresses of *releases* back and strike these out.

        Before that it is said of each reservation what it has given back, or that its release is over: so as long
        as it is not, all that it has is its own, or stands in the ledger.
        """
        for release in releases:
            if release.is_partial:
                with use_audit_context(release.audit_context):
                    self._give_back_some(subnet, release)
        whole = {release.reservation: release.addresses for release in releases if not release.is_partial}
        self._stores.leases.put_back(subnet, whole)
        burial = self._stores.reservations.burial([release.reservation for release in releases if release.ends])
        ending = self.ending(subnet, (), releases, seen)
        if not (self._stores.writer.write([burial, *ending]) and ending):
            self.end(subnet, (), releases)

    def ending(
        self, subnet: ObjectId, grants: Collection[Grant], releases: Collection[Release], seen: Blocks
    ) -> list[Writes]:
        """Return the writes that bring blocks, as they were *seen*, in line with applied entries and remove these.

        Nothing, if not all of them were seen. If they were seen before it was entered into the ledger, it stands
        there still: a process that had finished it would have changed them, and then these writes end before the
        ledger.
        """
        taken_now = [grant.addresses for grant in grants]
        freed_now = [release.addresses for release in releases]
        numbers = _numbers([*taken_now, *freed_now])
        if not numbers <= seen.keys():
            return []
        changed: list[Block] = []
        for number in sorted(numbers):
            block, more, less = seen[number], _positions(taken_now, number), _positions(freed_now, number)
            if (taken := (block.taken | more) - less) != block.taken:
                changed.append(block.succeeded_by(taken, block.known | more))
        stores = self._stores
        return [stores.blocks.succession(changed), stores.ledgers.striking_out(subnet, grants, releases)]

    def end(self, subnet: ObjectId, grants: Collection[Grant], releases: Collection[Release]) -> None:
        """Apply as `ending` does, but without blocks read before; other processes may do the same."""
        retry_on_conflict(lambda: self._end(subnet, grants, releases))

    def _end(self, subnet_id: ObjectId, grants: Collection[Grant], releases: Collection[Release]) -> None:
        """Bring blocks in line with what was carried out, and strike it out.

        A block is changed only for what still stands in the ledger after the block was read: what does not was
        finished by another process, and the block may have later changes already.

        Raises:
            WriteConflict: If a block was changed meanwhile.
        """
        entries: tuple[Grant | Release, ...] = (*grants, *releases)
        blocks = self._stores.blocks.read(subnet_id, _numbers(entry.addresses for entry in entries))
        ledger = self._stores.ledgers.find(subnet_id)
        if ledger is None:
            return
        out = [grant for grant in grants if grant in ledger.grants]
        back = [release for release in releases if release in ledger.releases]
        if not self._stores.writer.write(self.ending(subnet_id, out, back, blocks)):
            raise WriteConflict(f"Blocks of subnet {subnet_id} were changed meanwhile.")

    def _give_back_some(self, subnet: ObjectId, release: Release) -> None:
        for address in release.addresses:
            retry_on_conflict(partial(self._stores.leases.release, subnet, release.reservation, address))
        self._stores.reservations.give_back(release.reservation, subnet, release.addresses)

    def see(self, subnet: ObjectId, addresses: Iterable[AddressSet]) -> Blocks:
        """Return the blocks of *addresses*, to be read before they are entered into the ledger."""
        return self._stores.blocks.read(subnet, _numbers(addresses))

    def _seen_or_read(self, subnet: ObjectId, addresses: Collection[AddressSet], seen: Blocks) -> Blocks:
        numbers = _numbers(addresses)
        return seen if numbers <= seen.keys() else self._stores.blocks.read(subnet, numbers)


def _numbers(addresses: Iterable[AddressSet]) -> set[int]:
    return {number for one in addresses for number in one.blocks}


def _positions(addresses: Collection[AddressSet], number: int) -> FrozenBitMap:
    return EMPTY.union(*(one.blocks.get(number, EMPTY) for one in addresses))
