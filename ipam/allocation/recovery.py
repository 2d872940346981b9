"""Finding and finishing what a killed process or a lost message left behind."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from bson import ObjectId

from ipam.allocation.cascade_delete import CascadeDeleter
from ipam.allocation.dispatcher import Dispatcher
from ipam.allocation.provisioning import Provisioner
from ipam.allocation.release import Releaser
from ipam.allocation.roll_forward import RollForward
from ipam.allocation.subnet_closing import reopen
from ipam.errors import Rejected, WriteConflict, passes
from ipam.models.address_set import AddressSet
from ipam.models.ledger import Ledger
from ipam.models.search_keys import KEEP_TOMBSTONES
from ipam.models.subnet import Subnet, SubnetState
from ipam.storage.connection import READ_CHUNK, chunks
from ipam.storage.stores import Stores
from ipam.storage.time_span import Span, begun_within
from ipam.util.clock import utc_now

log = logging.getLogger(__name__)
# What was kept long enough has so many seconds of each look, so that nothing else waits for it.
_EXPIRY_TAKES_S = 1.0


@dataclass(kw_only=True)
class Recovery:
    """Run every few seconds, by any number of processes at once: each step may be done twice.

    Attributes:
        queued_grace_s: A job that has been queued for this long may have lost its message.
        claim_timeout_s: What was begun this long ago has lost the process that began it.
    """

    stores: Stores
    roll_forward: RollForward
    releaser: Releaser
    cascade_deleter: CascadeDeleter
    provisioner: Provisioner
    dispatcher: Dispatcher
    queued_grace_s: float
    claim_timeout_s: float

    def run(self) -> None:
        """Look once for everything that was left behind, and finish it.

        Raises:
            Transient: If the database is out of reach.
        """
        for target in self.stores.jobs.stranded(self.queued_grace_s, self.claim_timeout_s):
            self.dispatcher.dispatch(target)
        now = utc_now()
        recent = begun_within(self.claim_timeout_s)
        _try(partial(self.stores.events.recover, recent))
        _try(partial(self.stores.leases.recover, recent))
        for reservation in self.stores.reservations.take_over_release(recent):
            _try(partial(self.releaser.finish, reservation))
        for subnet in self.stores.subnets.take_over(recent):
            _try(partial(self._finish_subnet, subnet))
        for id_ in self.stores.subnets.deleted_before(now - KEEP_TOMBSTONES):
            _try(partial(self._forget_subnet, id_))
        for some in chunks(self.stores.ledgers.unfinished(recent), READ_CHUNK):
            for ledger in some:
                _try(partial(self._finish_ledger, ledger, recent))
            self.stores.ledgers.rest(ledger for ledger in some if ledger.is_open and not ledger.entries)
        for pool in self.stores.pools.take_over_sweep(recent):
            _try(partial(self.cascade_deleter.finish_pool, pool))
        _try(partial(self.stores.purge.remove, now, _EXPIRY_TAKES_S))

    def _finish_subnet(self, subnet: Subnet) -> None:
        if subnet.state is SubnetState.CREATING:
            with suppress(Rejected):  # Then it is swept.
                self.provisioner.finish_creation(subnet)
        else:
            self.cascade_deleter.finish_subnet(subnet.id)

    def _forget_subnet(self, id_: ObjectId) -> None:
        for block in self.stores.blocks.of_subnet(id_):
            self.stores.leases.forget(id_, AddressSet.of_blocks({block.number: block.known}))
        self.stores.blocks.forget(id_)
        self.stores.ledgers.forget(id_)
        self.stores.subnets.forget(id_)

    def _finish_ledger(self, ledger: Ledger, recent: Span) -> None:
        self.roll_forward.settle(ledger, recent)
        if not ledger.is_open:
            subnet = self.stores.subnets.find(ledger.id)
            if subnet is None:  # A creation that slept has stored it again.
                self.stores.ledgers.forget(ledger.id)
            elif subnet.state is SubnetState.DELETED:
                self.stores.ledgers.retire(ledger.id)
            elif subnet.state is SubnetState.ACTIVE:
                reopen(self.stores, ledger.id)


def _try(finish: Callable[[], object]) -> None:
    """Leave what cannot be finished now for the next run, and go on with the rest."""
    try:
        finish()
    except WriteConflict:
        log.info("recovery: something is being worked on; left for the next run")
    except Exception as error:
        if passes(error):
            raise
        log.exception("recovery: something could not be finished; left for the next run")
