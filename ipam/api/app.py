"""The Falcon application: all routes on one screen, with the roles that they need."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

import falcon

from ipam.api.http.authenticator import Authenticator
from ipam.api.http.credentials import Networks
from ipam.api.http.idempotency import Idempotency
from ipam.api.http.metrics import RequestMetrics
from ipam.api.http.problems import on_crash, on_http_error, on_ipam_error
from ipam.api.http.responses import Json
from ipam.api.middleware.allowed_hosts import AllowedHosts
from ipam.api.middleware.audit_context import AuditContextMiddleware
from ipam.api.middleware.authentication import Access, Authentication
from ipam.api.middleware.browser_security import BrowserSecurity
from ipam.api.middleware.drain import DrainMiddleware
from ipam.api.middleware.request_metrics import RequestMetricsMiddleware
from ipam.api.resources.addresses import AddressItem
from ipam.api.resources.events import EventCollection
from ipam.api.resources.free_space import PoolFreeSpace, SubnetFreeSpace, SubnetMap
from ipam.api.resources.health import Live, Ready, Status, checked
from ipam.api.resources.jobs import JobCollection, JobItem
from ipam.api.resources.leases import LeaseCollection, LeasesOfReservation, LeasesOfSubnet, lease_item
from ipam.api.resources.metrics import InstallationCollector, Metrics
from ipam.api.resources.openapi import OpenApi
from ipam.api.resources.pages import DocsFile, DocsPage, ProblemPage
from ipam.api.resources.pools import PoolCollection, pool_item
from ipam.api.resources.reservations import ReservationCollection, ReservationItem, ScopedReservations
from ipam.api.resources.root import Root
from ipam.api.resources.subnets import SubnetCollection, SubnetsOfPool, subnet_item
from ipam.api.resources.tokens import OwnToken, TokenCollection, TokenItem
from ipam.errors import IpamError
from ipam.models.token import Role
from ipam.wiring import Services

# Who may use a route: without a token, or with one of such a role, for reading and for writing.
PUBLIC = Access(read=None, write=None)
VIEWING = Access()
ALLOCATION = Access(write=Role.ALLOCATOR)
OPERATION = Access(write=Role.OPERATOR)
ADMINISTRATION = Access(read=Role.ADMIN, write=Role.ADMIN)


@dataclass(frozen=True, slots=True)
class ApiOptions:
    """The settings of the API.

    Attributes:
        hosts: Names that requests may have in `Host`, besides those of loopback.
        need_token: Whether each request needs a token.
        trusted_proxies: Networks of the proxies that say in `X-Forwarded-For` where a request comes from.
        open_metrics: Whether `/metrics` is shown without a token.
        metrics_pools: How many pools `/metrics` tells of.
    """

    hosts: Collection[str]
    need_token: bool = False
    trusted_proxies: Networks = ()
    open_metrics: bool = False
    metrics_pools: int = 0


def create_app(
    services: Services,
    check_broker: Callable[[], None],
    stopping: threading.Event,
    options: ApiOptions,
    ping_workers: Callable[[], Sequence[str]] = tuple,
) -> falcon.App[falcon.Request, falcon.Response]:
    """Return the WSGI application on *services*, which takes no further request once *stopping* is set.

    *check_broker* raises `Transient` when the broker takes no message, and so does *ping_workers*, which returns
    the names of the workers that answer.
    """
    app = falcon.App()
    metrics = RequestMetrics()
    app.add_middleware(RequestMetricsMiddleware(metrics))
    app.add_middleware(AuditContextMiddleware())
    app.add_middleware(BrowserSecurity())
    app.add_middleware(AllowedHosts(options.hosts))
    app.add_middleware(DrainMiddleware(stopping))
    authenticator = Authenticator(services.stores.tokens) if options.need_token else None
    access: dict[str, Access] = {}
    app.add_middleware(Authentication(authenticator, access, options.trusted_proxies))
    app.req_options.strip_url_path_trailing_slash = True  # As RackHD IPAM 1.0 did.
    app.req_options.keep_blank_qs_values = True
    app.add_error_handler(Exception, on_crash)
    app.add_error_handler(falcon.HTTPError, on_http_error)
    app.add_error_handler(IpamError, on_ipam_error)

    once = Idempotency(services.stores.idempotency)
    from_subnet = ScopedReservations(services, once, kind="subnet", field="subnets")
    from_pool = ScopedReservations(services, once, kind="pool", field="pool")

    monitor = services.monitor
    needed = {"database": services.stores.positions.write, "broker": check_broker}
    parts: dict[str, Callable[[], Json]] = {
        **{name: checked(check) for name, check in needed.items()},
        "recovery": monitor.recovery,
        "relay": monitor.relay,
        "bus": monitor.bus,
        "queue": monitor.queue,
    }
    routes: dict[str, tuple[Access, Any]] = {
        "/": (VIEWING, Root()),
        "/pools": (OPERATION, PoolCollection(services, once)),
        "/pools/{id_}": (OPERATION, pool_item(services)),
        "/pools/{id_}/subnets": (OPERATION, SubnetsOfPool(services, once)),
        "/pools/{id_}/reservations": (ALLOCATION, from_pool),
        "/pools/{id_}/free": (VIEWING, PoolFreeSpace(services)),
        "/subnets": (VIEWING, SubnetCollection(services)),
        "/subnets/{id_}": (OPERATION, subnet_item(services)),
        "/subnets/{id_}/reservations": (ALLOCATION, from_subnet),
        "/subnets/{id_}/free": (VIEWING, SubnetFreeSpace(services)),
        "/subnets/{id_}/map": (VIEWING, SubnetMap(services)),
        "/subnets/{id_}/leases": (VIEWING, LeasesOfSubnet(services)),
        "/reservations": (VIEWING, ReservationCollection(services)),
        "/reservations/{id_}": (ALLOCATION, ReservationItem(services)),
        "/reservations/{id_}/leases": (VIEWING, LeasesOfReservation(services)),
        "/leases": (VIEWING, LeaseCollection(services)),
        "/leases/{id_}": (ALLOCATION, lease_item(services)),
        "/addresses/{address}": (VIEWING, AddressItem(services)),
        "/jobs": (VIEWING, JobCollection(services)),
        "/jobs/{id_}": (ALLOCATION, JobItem(services)),
        "/events": (VIEWING, EventCollection(services)),
        "/tokens": (ADMINISTRATION, TokenCollection(services)),
        "/tokens/self": (VIEWING, OwnToken()),
        "/tokens/{id_}": (ADMINISTRATION, TokenItem(services)),
        "/openapi.json": (PUBLIC, OpenApi(access)),
        "/docs": (PUBLIC, DocsPage()),
        "/docs/{file}": (PUBLIC, DocsFile()),
        "/problems/{slug}": (PUBLIC, ProblemPage()),
        "/livez": (PUBLIC, Live()),
        "/readyz": (PUBLIC, Ready(needed)),
        "/status": (
            VIEWING,
            Status({**parts, "workers": lambda: _workers(ping_workers())}, services.admission.hooks),
        ),
        "/metrics": (
            PUBLIC if options.open_metrics else VIEWING,
            Metrics(metrics.exposed_with(InstallationCollector(parts, services.stores, options.metrics_pools))),
        ),
    }
    for path, (needed_roles, resource) in routes.items():
        access[path] = needed_roles
        resource.on_head = resource.on_get  # Falcon leaves the body away, but does not answer HEAD by itself.
        app.add_route(path, resource)
    return app


def _workers(names: Sequence[str]) -> dict[str, Any]:
    if not names:
        return {"status": "missing", "detail": "no worker answers: requests for addresses wait; start ipam worker"}
    return {"status": "ok", "names": list(names)}
