"""Finding and finishing what a killed process or a lost message left behind."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from functools import partial

from ipam.allocation.cascade_delete import CascadeDeleter
from ipam.allocation.dispatcher import Dispatcher
from ipam.allocation.provisioning import Provisioner
from ipam.allocation.release import Releaser
from ipam.allocation.roll_forward import RollForward
from ipam.errors import Rejected, WriteConflict, passes
from ipam.models.address_set import AddressSet
from ipam.models.search_keys import KEEP_TOMBSTONES
from ipam.models.subnet import Subnet, SubnetState
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
        recent, forgotten_before = begun_within(self.claim_timeout_s), now - KEEP_TOMBSTONES
        _try(partial(self.stores.events.recover, recent))
        _try(partial(self.stores.leases.recover, recent))
        for reservation in self.stores.reservations.take_over_release(recent):
            _try(partial(self.releaser.finish, reservation))
        for subnet in self.stores.subnets.unfinished(recent, forgotten_before):
            _try(partial(self._finish_subnet, subnet, recent, forgotten_before))
        for pool in self.stores.pools.take_over_sweep(recent):
            _try(partial(self.cascade_deleter.finish_pool, pool))
        _try(partial(self.stores.purge.remove, now, _EXPIRY_TAKES_S))

    def _finish_subnet(self, subnet: Subnet, recent: Span, forgotten_before: datetime) -> None:
        if subnet.state is not SubnetState.CREATING:  # A subnet that was never shown has no event.
            self.stores.subnets.tell(subnet)
        match subnet.state:
            case SubnetState.CREATING:
                with suppress(Rejected):  # Then it is swept.
                    self.provisioner.finish_creation(subnet)
            case SubnetState.DELETING if subnet.updated_at not in recent:
                if self.stores.subnets.renew_sweep(subnet.id, subnet.updated_at):  # Else another process does.
                    self.cascade_deleter.finish_subnet(subnet.id)
            case SubnetState.DELETED if subnet.updated_at < forgotten_before:
                for block in self.stores.blocks.of_subnet(subnet.id):
                    self.stores.leases.forget(subnet.id, AddressSet.of_blocks({block.number: block.known}))
                self.stores.blocks.forget(subnet.id)
                self.stores.subnets.forget(subnet.id)
            case SubnetState.ACTIVE:
                self.roll_forward.settle(subnet, recent)


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
