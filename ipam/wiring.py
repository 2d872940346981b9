"""From settings to services: the only place that chooses implementations."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from ipam.allocation.inventory import Inventory
from ipam.allocation.jobs import Dispatcher, Jobs
from ipam.allocation.leasing import Leasing
from ipam.allocation.recovery import Recovery
from ipam.allocation.releasing import Releasing
from ipam.allocation.settling import Settling
from ipam.allocation.surveying import Surveying
from ipam.allocation.waiting import Waiting
from ipam.discovery.consul import mongo_servers
from ipam.events.buses import open_bus
from ipam.events.following import Following
from ipam.events.holding import Holding
from ipam.events.publishing import Publishing
from ipam.events.relay import Relay
from ipam.models.connection import connect
from ipam.models.stores import Stores
from ipam.settings import Settings

# A quarter of the request threads is never given to waiting, so that reads and polls always find one.
_WAITING_SHARE = 0.75
# One thread in so many may wait for an event; so some are left even when all who may wait do.
_FOLLOWING_SHARE = 0.125


@dataclass(frozen=True, slots=True)
class Services:
    """Everything that the API and the workers call."""

    stores: Stores
    inventory: Inventory
    releasing: Releasing
    jobs: Jobs
    recovery: Recovery
    surveying: Surveying
    waiting: Waiting
    following: Following
    holding: Holding


def open_stores(settings: Settings, timeout_s: float) -> Stores:
    """The stores on the database that *settings* name; each call to it is bounded by *timeout_s* seconds.

    Raises:
        InvalidSettings: If the address of the database cannot be used.
        Transient: If Consul is to be asked for it and does not answer or knows none.
    """
    servers = mongo_servers(settings.consul, settings.consul_mongo) if settings.consul else settings.mongo
    # What people are shown of a URI ends before its options and begins after its credentials.
    shown = servers.rpartition("://")[2].rpartition("@")[2].partition("/")[0]
    return Stores(connect(servers, settings.database, timeout_s), shown)


def build_services(stores: Stores, settings: Settings, dispatcher: Dispatcher) -> Services:
    """The services of one process."""
    leasing = Leasing(stores)
    settling = Settling(stores, leasing, settings.claim_timeout_s)
    releasing = Releasing(stores, leasing, settling)
    inventory = Inventory(stores, settling)
    return Services(
        stores=stores,
        inventory=inventory,
        releasing=releasing,
        jobs=Jobs(stores, settling, dispatcher, settings.claim_timeout_s),
        recovery=Recovery(
            stores,
            settling,
            releasing,
            inventory,
            dispatcher,
            queued_grace_s=settings.recovery_interval_s,
            claim_timeout_s=settings.claim_timeout_s,
        ),
        surveying=Surveying(stores),
        waiting=Waiting(stores.jobs, int(settings.threads * _WAITING_SHARE)),
        following=Following(stores.log, max(1, int(settings.threads * _FOLLOWING_SHARE)), _source(settings)),
        holding=Holding(stores),
    )


def build_relay(stores: Stores, settings: Settings) -> Relay:
    """The relay, with the bus that *settings* name."""
    publishing = None
    if settings.bus is not None:
        publishing = Publishing(stores.log, stores.leadership, open_bus(settings.bus), _source(settings))
    keep = timedelta(days=settings.events_keep_days) if settings.events_keep_days else None
    return Relay(stores, publishing, keep)


def _source(settings: Settings) -> str:
    """What this installation is called in its events."""
    return f"/{settings.database}"
