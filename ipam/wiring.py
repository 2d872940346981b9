"""From settings to services: the only place that chooses implementations."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import timedelta
from functools import partial

from ipam.allocation.cascade_delete import CascadeDeleter
from ipam.allocation.dispatcher import Dispatcher
from ipam.allocation.entry_applier import EntryApplier
from ipam.allocation.free_space import FreeSpace
from ipam.allocation.granting import Granter
from ipam.allocation.job_queue import JobQueue
from ipam.allocation.job_runner import JobRunner
from ipam.allocation.job_waiter import JobWaiter
from ipam.allocation.monitor import Monitor
from ipam.allocation.provisioning import Provisioner
from ipam.allocation.recovery import Recovery
from ipam.allocation.release import Releaser
from ipam.allocation.roll_forward import RollForward
from ipam.discovery.consul import ConsulAgent, ConsulEndpoint
from ipam.discovery.endpoints import Endpoint, FileEndpoint, StaticEndpoint
from ipam.discovery.registration import Registration, entry_of_web
from ipam.discovery.service import USUAL_BROKER, Service
from ipam.errors import InvalidSettings
from ipam.events.address_history import AddressHistory
from ipam.events.buses import Bus, FailoverBus, open_bus
from ipam.events.log_reader import LogReader
from ipam.events.publisher import Publisher
from ipam.events.relay import Relay
from ipam.hooks.admission import AdmissionController
from ipam.hooks.client import BusHookClient, FailoverHookClient, HookClient
from ipam.hooks.config import RESERVE, Hook, read_hooks
from ipam.hooks.signing import Secret
from ipam.settings import SERVICE_SCHEMES, Settings
from ipam.storage.connection import connect
from ipam.storage.failover import connect_failover
from ipam.storage.stores import Stores
from ipam.util.heartbeat import Heartbeat

log = logging.getLogger(__name__)
# The shares of the request threads that may wait for jobs, for events and for hooks. An eighth is never given to
# waiting, so that reads and polls always find a thread.
_WAITING_SHARE = 0.625
_LONG_POLL_SHARE = 0.125
_ADMISSION_SHARE = 0.125
# Batches of requests for addresses that hooks are asked about while their worker does other work.
_BACKGROUND_REVIEWS = 32
# Hooks that all stay silent leave a job's claim this much time at least.
_CLAIM_LEFT_S = 5.0


@dataclass(frozen=True, slots=True)
class Services:
    """Everything that the API and the workers call."""

    stores: Stores
    admission: AdmissionController
    provisioner: Provisioner
    releaser: Releaser
    cascade_deleter: CascadeDeleter
    job_queue: JobQueue
    job_runner: JobRunner
    recovery: Recovery
    free_space: FreeSpace
    job_waiter: JobWaiter
    log_reader: LogReader
    address_history: AddressHistory
    monitor: Monitor


def mongo_endpoint(settings: Settings) -> Endpoint:
    """Return where MongoDB is."""
    if settings.consul is None:
        return _said("mongo", settings)
    if "mongo" in settings.model_fields_set:
        log.info("--mongo is ignored, for --consul is given: MongoDB is the service in --consul-mongo")
    return _in_consul("consul_mongo", settings)


def broker_endpoint(settings: Settings) -> Endpoint:
    """Return where Celery's broker is: with Consul, a service there, unless `--broker` alone is given."""
    is_said = settings.consul_broker is None and "broker" in settings.model_fields_set
    if settings.consul is None or is_said:
        return _said("broker", settings)
    return _in_consul("consul_broker", settings)


def bus_endpoint(settings: Settings) -> Endpoint | None:
    """Return where the bus is; None if there is none."""
    if settings.consul_bus is not None:
        return _in_consul("consul_bus", settings)
    return _said("bus", settings) if settings.bus is not None else None


def _said(name: str, settings: Settings) -> Endpoint:
    """Return where the setting *name* says, or the file that it was read from."""
    flag = f"--{name}"
    if getattr(settings, f"{name}_file") is None:
        return StaticEndpoint(getattr(settings, name), flag)
    return FileEndpoint(partial(settings.read_again, name), f"{flag}-file")


def _in_consul(name: str, settings: Settings) -> Endpoint:
    """Return where Consul knows the service that the setting *name* says, or the file that it was read from."""
    flag = f"--{name.replace('_', '-')}"
    parse = partial(Service.parse, flag=flag, schemes=SERVICE_SCHEMES[name])
    file = None
    if getattr(settings, f"{name}_file") is not None:
        file = FileEndpoint(partial(settings.read_again, name), f"{flag}-file")
    return ConsulEndpoint(ConsulAgent(settings), getattr(settings, name) or USUAL_BROKER, parse, file)


def web_registration(settings: Settings, port: int) -> Registration | None:
    """Return what makes a web process that listens on *port* found; None without Consul."""
    return Registration(ConsulAgent(settings), entry_of_web(settings, port)) if settings.consul else None


def open_stores(settings: Settings, timeout_s: float, *, follow: bool = True) -> Stores:
    """Return the stores on the database that *settings* name; each call to it is bounded by *timeout_s* seconds.

    If that is looked up in Consul, this waits until it is known there. If they are to *follow*, they go where
    Consul, or the file that names the database, says.

    Raises:
        InvalidSettings: If the address of the database cannot be used.
    """
    endpoint = mongo_endpoint(settings)
    servers = endpoint.find()
    if follow and not isinstance(endpoint, StaticEndpoint):
        database = connect_failover(servers, settings.database, timeout_s, endpoint.follow)
    else:
        database = connect(servers, settings.database, timeout_s)
    # What people are shown of a URI ends before its options and begins after its credentials.
    shown = servers.rpartition("://")[2].rpartition("@")[2].partition("/")[0]
    return Stores(database, shown, endpoint.source)


def declared_hooks(settings: Settings) -> tuple[Hook, ...]:
    """Return the hooks that *settings* declare.

    Raises:
        InvalidSettings: With every fault of their file, or if they cannot work as they are declared.
    """
    if settings.hooks is None:
        return ()
    hooks = read_hooks(settings.hooks)
    for hook in hooks:
        if hook.secret_file is not None:
            Secret.read(hook.secret_file, f"--hooks={settings.hooks}: hook {hook.name}, secret_file")
    _hook_endpoint(settings)
    longest_s = sum(hook.timeout_s for hook in hooks if RESERVE in hook.changes)
    if longest_s and longest_s + _CLAIM_LEFT_S > settings.claim_timeout_s:
        raise InvalidSettings(
            f"--hooks={settings.hooks}: those on {RESERVE} may take {longest_s:g} s together; give them less, or "
            f"say --claim-timeout-s {longest_s + _CLAIM_LEFT_S:g} or more"
        )
    return hooks


def build_admission(settings: Settings) -> AdmissionController:
    """Return what asks the hooks that *settings* declare; nothing is connected before something is asked.

    Raises:
        InvalidSettings: As `declared_hooks` does.
    """
    hooks = declared_hooks(settings)
    if not hooks:
        return AdmissionController()
    max_waiting = max(1, int(settings.threads * _ADMISSION_SHARE))
    return AdmissionController(
        hooks, build_hook_client(settings), max_waiting=max_waiting, max_background=_BACKGROUND_REVIEWS
    )


def build_hook_client(settings: Settings) -> HookClient:
    """Return what asks on the bus that *settings* name.

    Raises:
        InvalidSettings: If hooks cannot be asked there.
    """
    endpoint = _hook_endpoint(settings)
    if isinstance(endpoint, StaticEndpoint):
        return BusHookClient(endpoint.address)
    client = FailoverHookClient(endpoint.source)
    endpoint.follow(client.move)
    return client


def _hook_endpoint(settings: Settings) -> Endpoint:
    endpoint = bus_endpoint(settings)
    if endpoint is None or (settings.consul_bus or settings.bus or "").startswith("redis"):
        raise InvalidSettings(
            f"--hooks={settings.hooks}: consumers are asked on a bus, so say --bus (or --consul-bus) as well; "
            "RabbitMQ or NATS, for on Redis hooks cannot be asked"
        )
    return endpoint


def build_services(
    stores: Stores, settings: Settings, dispatcher: Dispatcher, admission: AdmissionController
) -> Services:
    """Return the services of one process."""
    entry_applier = EntryApplier(stores)
    roll_forward = RollForward(stores, entry_applier, settings.claim_timeout_s)
    releaser = Releaser(stores, entry_applier, roll_forward, dispatcher, admission)
    cascade_deleter = CascadeDeleter(stores, roll_forward, dispatcher, admission)
    provisioner = Provisioner(stores, cascade_deleter, admission)
    return Services(
        stores=stores,
        admission=admission,
        provisioner=provisioner,
        releaser=releaser,
        cascade_deleter=cascade_deleter,
        job_queue=JobQueue(stores, dispatcher, admission, settings.claim_timeout_s),
        job_runner=JobRunner(
            stores=stores,
            roll_forward=roll_forward,
            granter=Granter(stores, roll_forward),
            releaser=releaser,
            cascade_deleter=cascade_deleter,
            dispatcher=dispatcher,
            admission=admission,
            claim_timeout_s=settings.claim_timeout_s,
        ),
        recovery=Recovery(
            stores=stores,
            roll_forward=roll_forward,
            releaser=releaser,
            cascade_deleter=cascade_deleter,
            provisioner=provisioner,
            dispatcher=dispatcher,
            queued_grace_s=settings.recovery_interval_s,
            claim_timeout_s=settings.claim_timeout_s,
        ),
        free_space=FreeSpace(stores),
        job_waiter=JobWaiter(stores.jobs, int(settings.threads * _WAITING_SHARE)),
        log_reader=LogReader(stores.log, max(1, int(settings.threads * _LONG_POLL_SHARE)), _source(settings)),
        address_history=AddressHistory(stores),
        monitor=Monitor(stores),
    )


def build_relay(stores: Stores, settings: Settings) -> Relay:
    """Return the relay, with the bus that *settings* name."""
    publisher, endpoint = None, bus_endpoint(settings)
    if endpoint is not None:
        publisher = Publisher(stores.log, stores.leader_lease, _bus(endpoint), _source(settings))
    keep = timedelta(days=settings.events_keep_days) if settings.events_keep_days else None
    return Relay(stores, publisher, keep, Heartbeat("relay", settings.database))


def _bus(endpoint: Endpoint) -> Bus:
    if isinstance(endpoint, StaticEndpoint):
        return open_bus(endpoint.address)
    bus = FailoverBus(endpoint.source)  # While there is none, what happens is written to the log all the same.
    endpoint.follow(bus.move)
    return bus


def _source(settings: Settings) -> str:
    """Return what this installation is called in its events."""
    return f"/{settings.database}"
