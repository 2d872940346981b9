"""From settings to services: the only place that chooses implementations."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import timedelta
from functools import partial

from ipam.allocation.deleting import Deleting
from ipam.allocation.dispatcher import Dispatcher
from ipam.allocation.granting import Granting
from ipam.allocation.inventory import Inventory
from ipam.allocation.jobs import Jobs
from ipam.allocation.leasing import Leasing
from ipam.allocation.monitor import Monitor
from ipam.allocation.recovery import Recovery
from ipam.allocation.releasing import Releasing
from ipam.allocation.settling import Settling
from ipam.allocation.surveying import Surveying
from ipam.allocation.waiting import Waiting
from ipam.discovery.consul import Agent, InConsul
from ipam.discovery.places import Fixed, InFile, Place
from ipam.discovery.registration import Registration, entry_of_web
from ipam.discovery.service import USUAL_BROKER, Service
from ipam.errors import InvalidSettings
from ipam.events.buses import Bus, MovingBus, open_bus
from ipam.events.following import Following
from ipam.events.holding import Holding
from ipam.events.publishing import Publishing
from ipam.events.relay import Relay
from ipam.hooks.admission import AdmissionController
from ipam.hooks.client import BusHookClient, FailoverHookClient, HookClient
from ipam.hooks.config import RESERVE, Hook, read_hooks
from ipam.hooks.signing import Secret
from ipam.models.connection import connect
from ipam.models.moving import connect_moving
from ipam.models.stores import Stores
from ipam.settings import SERVICE_SCHEMES, Settings
from ipam.util.heartbeat import Heartbeat

log = logging.getLogger(__name__)
# The shares of the request threads that may wait for jobs, for events and for hooks. An eighth is never given to
# waiting, so that reads and polls always find a thread.
_WAITING_SHARE = 0.625
_FOLLOWING_SHARE = 0.125
_CONSULTING_SHARE = 0.125
# Batches of requests for addresses that hooks are asked about while their worker does other work.
_CONSULTED_BESIDE = 32
# Hooks that all stay silent leave a job's claim this much time at least.
_CLAIM_LEFT_S = 5.0


@dataclass(frozen=True, slots=True)
class Services:
    """Everything that the API and the workers call."""

    stores: Stores
    admission: AdmissionController
    inventory: Inventory
    releasing: Releasing
    deleting: Deleting
    jobs: Jobs
    recovery: Recovery
    surveying: Surveying
    waiting: Waiting
    following: Following
    holding: Holding
    monitor: Monitor


def mongo_place(settings: Settings) -> Place:
    """Where MongoDB is."""
    if settings.consul is None:
        return _said("mongo", settings)
    if "mongo" in settings.model_fields_set:
        log.info("--mongo is ignored, for --consul is given: MongoDB is the service in --consul-mongo")
    return _in_consul("consul_mongo", settings)


def broker_place(settings: Settings) -> Place:
    """Where Celery's broker is: with Consul, a service there, unless `--broker` alone is given."""
    is_said = settings.consul_broker is None and "broker" in settings.model_fields_set
    if settings.consul is None or is_said:
        return _said("broker", settings)
    return _in_consul("consul_broker", settings)


def bus_place(settings: Settings) -> Place | None:
    """Where the bus is; None if there is none."""
    if settings.consul_bus is not None:
        return _in_consul("consul_bus", settings)
    return _said("bus", settings) if settings.bus is not None else None


def _said(name: str, settings: Settings) -> Place:
    """Where the setting *name* says, or the file that it was read from."""
    flag = f"--{name}"
    if getattr(settings, f"{name}_file") is None:
        return Fixed(getattr(settings, name), flag)
    return InFile(partial(settings.read_again, name), f"{flag}-file")


def _in_consul(name: str, settings: Settings) -> Place:
    """Where Consul knows the service that the setting *name* says, or the file that it was read from."""
    flag = f"--{name.replace('_', '-')}"
    parse = partial(Service.parse, flag=flag, schemes=SERVICE_SCHEMES[name])
    file = None
    if getattr(settings, f"{name}_file") is not None:
        file = InFile(partial(settings.read_again, name), f"{flag}-file")
    return InConsul(Agent(settings), getattr(settings, name) or USUAL_BROKER, parse, file)


def web_registration(settings: Settings, port: int) -> Registration | None:
    """What makes a web process that listens on *port* found; None without Consul."""
    return Registration(Agent(settings), entry_of_web(settings, port)) if settings.consul else None


def open_stores(settings: Settings, timeout_s: float, *, follow: bool = True) -> Stores:
    """The stores on the database that *settings* name; each call to it is bounded by *timeout_s* seconds.

    If that is looked up in Consul, this waits until it is known there. If they are to *follow*, they go where
    Consul, or the file that names the database, says.

    Raises:
        InvalidSettings: If the address of the database cannot be used.
    """
    place = mongo_place(settings)
    servers = place.find()
    if follow and not isinstance(place, Fixed):
        database = connect_moving(servers, settings.database, timeout_s, place.follow)
    else:
        database = connect(servers, settings.database, timeout_s)
    # What people are shown of a URI ends before its options and begins after its credentials.
    shown = servers.rpartition("://")[2].rpartition("@")[2].partition("/")[0]
    return Stores(database, shown, place.origin)


def declared_hooks(settings: Settings) -> tuple[Hook, ...]:
    """The hooks that *settings* declare.

    Raises:
        InvalidSettings: With every fault of their file, or if they cannot work as they are declared.
    """
    if settings.hooks is None:
        return ()
    hooks = read_hooks(settings.hooks)
    for hook in hooks:
        if hook.secret_file is not None:
            Secret.read(hook.secret_file, f"--hooks={settings.hooks}: hook {hook.name}, secret_file")
    _bus_endpoint(settings)
    longest_s = sum(hook.timeout_s for hook in hooks if RESERVE in hook.changes)
    if longest_s and longest_s + _CLAIM_LEFT_S > settings.claim_timeout_s:
        raise InvalidSettings(
            f"--hooks={settings.hooks}: those on {RESERVE} may take {longest_s:g} s together; give them less, or "
            f"say --claim-timeout-s {longest_s + _CLAIM_LEFT_S:g} or more"
        )
    return hooks


def build_admission(settings: Settings) -> AdmissionController:
    """What asks the hooks that *settings* declare; nothing is connected before something is asked.

    Raises:
        InvalidSettings: As `declared_hooks` does.
    """
    hooks = declared_hooks(settings)
    if not hooks:
        return AdmissionController()
    places = max(1, int(settings.threads * _CONSULTING_SHARE))
    return AdmissionController(
        hooks, build_hook_client(settings), max_waiting=places, max_background=_CONSULTED_BESIDE
    )


def build_hook_client(settings: Settings) -> HookClient:
    """What asks on the bus that *settings* name.

    Raises:
        InvalidSettings: If nobody can be asked there.
    """
    place = _bus_endpoint(settings)
    if isinstance(place, Fixed):
        return BusHookClient(place.address)
    client = FailoverHookClient(place.origin)
    place.follow(client.move)
    return client


def _bus_endpoint(settings: Settings) -> Place:
    place = bus_place(settings)
    if place is None or (settings.consul_bus or settings.bus or "").startswith("redis"):
        raise InvalidSettings(
            f"--hooks={settings.hooks}: consumers are asked on a bus, so say --bus (or --consul-bus) as well; "
            "RabbitMQ or NATS, for on Redis nobody can be asked"
        )
    return place


def build_services(
    stores: Stores, settings: Settings, dispatcher: Dispatcher, admission: AdmissionController
) -> Services:
    """The services of one process."""
    leasing = Leasing(stores)
    settling = Settling(stores, leasing, settings.claim_timeout_s)
    releasing = Releasing(stores, leasing, settling, dispatcher, admission)
    deleting = Deleting(stores, settling, dispatcher, admission)
    inventory = Inventory(stores, deleting, admission)
    return Services(
        stores=stores,
        admission=admission,
        inventory=inventory,
        releasing=releasing,
        deleting=deleting,
        jobs=Jobs(
            stores,
            settling,
            Granting(stores, settling),
            releasing,
            deleting,
            dispatcher=dispatcher,
            admission=admission,
            claim_timeout_s=settings.claim_timeout_s,
        ),
        recovery=Recovery(
            stores,
            settling,
            releasing,
            deleting,
            inventory,
            dispatcher=dispatcher,
            queued_grace_s=settings.recovery_interval_s,
            claim_timeout_s=settings.claim_timeout_s,
        ),
        surveying=Surveying(stores),
        waiting=Waiting(stores.jobs, int(settings.threads * _WAITING_SHARE)),
        following=Following(stores.log, max(1, int(settings.threads * _FOLLOWING_SHARE)), _source(settings)),
        holding=Holding(stores),
        monitor=Monitor(stores),
    )


def build_relay(stores: Stores, settings: Settings) -> Relay:
    """The relay, with the bus that *settings* name."""
    publishing, place = None, bus_place(settings)
    if place is not None:
        publishing = Publishing(stores.log, stores.leadership, _bus(place), _source(settings))
    keep = timedelta(days=settings.events_keep_days) if settings.events_keep_days else None
    return Relay(stores, publishing, keep, Heartbeat("relay", settings.database))


def _bus(place: Place) -> Bus:
    if isinstance(place, Fixed):
        return open_bus(place.address)
    bus = MovingBus(place.origin)  # While there is none, what happens is written to the log all the same.
    place.follow(bus.move)
    return bus


def _source(settings: Settings) -> str:
    """What this installation is called in its events."""
    return f"/{settings.database}"
