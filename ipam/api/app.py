"""The Falcon application: all routes on one screen."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Sequence
from typing import Any

import falcon

from ipam.api.http.idempotency import Idempotency
from ipam.api.http.problems import on_crash, on_http_error, on_ipam_error
from ipam.api.middleware.allowed_hosts import AllowedHosts
from ipam.api.middleware.audit_context import AuditContextMiddleware
from ipam.api.middleware.browser_security import BrowserSecurity
from ipam.api.middleware.drain import DrainMiddleware
from ipam.api.resources.addresses import AddressItem
from ipam.api.resources.events import EventCollection
from ipam.api.resources.free_space import PoolFreeSpace, SubnetFreeSpace, SubnetMap
from ipam.api.resources.health import Live, Ready, Status, checked
from ipam.api.resources.jobs import JobCollection, JobItem
from ipam.api.resources.leases import LeaseCollection, LeasesOfReservation, LeasesOfSubnet, lease_item
from ipam.api.resources.pools import PoolCollection, pool_item
from ipam.api.resources.reservations import ReservationCollection, ReservationItem, ScopedReservations
from ipam.api.resources.root import Root
from ipam.api.resources.subnets import SubnetCollection, SubnetsOfPool, subnet_item
from ipam.errors import IpamError
from ipam.wiring import Services


def create_app(
    services: Services,
    check_broker: Callable[[], None],
    stopping: threading.Event,
    hosts: Collection[str],
    ping_workers: Callable[[], Sequence[str]] = tuple,
) -> falcon.App[falcon.Request, falcon.Response]:
    """Return the WSGI application on *services*, which takes no further request once *stopping* is set.

    *hosts* are the names that it answers to, besides those of loopback. *check_broker* raises `Transient` when the
    broker takes no message, and so does *ping_workers*, which returns the names of the workers that answer.
    """
    app = falcon.App()
    app.add_middleware(AuditContextMiddleware())
    app.add_middleware(BrowserSecurity())
    app.add_middleware(AllowedHosts(hosts))
    app.add_middleware(DrainMiddleware(stopping))
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
    routes: dict[str, Any] = {
        "/": Root(),
        "/pools": PoolCollection(services, once),
        "/pools/{id_}": pool_item(services),
        "/pools/{id_}/subnets": SubnetsOfPool(services, once),
        "/pools/{id_}/reservations": from_pool,
        "/pools/{id_}/free": PoolFreeSpace(services),
        "/subnets": SubnetCollection(services),
        "/subnets/{id_}": subnet_item(services),
        "/subnets/{id_}/reservations": from_subnet,
        "/subnets/{id_}/free": SubnetFreeSpace(services),
        "/subnets/{id_}/map": SubnetMap(services),
        "/subnets/{id_}/leases": LeasesOfSubnet(services),
        "/reservations": ReservationCollection(services),
        "/reservations/{id_}": ReservationItem(services),
        "/reservations/{id_}/leases": LeasesOfReservation(services),
        "/leases": LeaseCollection(services),
        "/leases/{id_}": lease_item(services),
        "/addresses/{address}": AddressItem(services),
        "/jobs": JobCollection(services),
        "/jobs/{id_}": JobItem(services),
        "/events": EventCollection(services),
        "/livez": Live(),
        "/readyz": Ready(needed),
        "/status": Status(
            {
                **{name: checked(check) for name, check in needed.items()},
                "workers": lambda: _workers(ping_workers()),
                "recovery": monitor.recovery,
                "relay": monitor.relay,
                "bus": monitor.bus,
                "queue": monitor.queue,
            },
            services.admission.hooks,
        ),
    }
    for path, resource in routes.items():
        resource.on_head = resource.on_get  # Falcon leaves the body away, but does not answer HEAD by itself.
        app.add_route(path, resource)
    return app


def _workers(names: Sequence[str]) -> dict[str, Any]:
    if not names:
        return {"status": "missing", "detail": "no worker answers: requests for addresses wait; start ipam worker"}
    return {"status": "ok", "names": list(names)}
