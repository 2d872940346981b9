"""/leases, /subnets/{id}/leases and /reservations/{id}/leases"""

from __future__ import annotations

from functools import partial
from typing import Any

import falcon

from ipam.api.http.item_resource import ItemResource
from ipam.api.http.media_types import negotiate
from ipam.api.http.query_params import address_parameter, id_filter, list_query
from ipam.api.http.responses import render_page
from ipam.models.document import object_id
from ipam.models.lease import Lease
from ipam.models.reserved_addresses import lease_key
from ipam.storage.query import Page
from ipam.wiring import Services


class LeaseCollection:
    """All leases."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """List leases; `?address=` finds the lease of an address."""
        negotiate(req, "leases")
        filters = {
            "address": self._at_address,
            "subnet": id_filter("subnet"),
            "reservation": id_filter("reservation"),
            "pool": id_filter("pool"),
        }
        _render(req, resp, self._services.free_space.leases(list_query(req, filters)))

    def _at_address(self, text: str) -> dict[str, Any]:
        """Return the condition for leases of an address: its possible keys, one for each subnet around it."""
        address = address_parameter(text)
        around = self._services.stores.subnets.containing(address)
        return {"_id": {"$in": [lease_key(subnet.id, address) for subnet in around]}}


class LeasesOfSubnet:
    """The leases held of one subnet."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def on_get(self, req: falcon.Request, resp: falcon.Response, id_: str) -> None:
        """List them, lowest address first."""
        negotiate(req, "leases")
        subnet = self._services.stores.subnets.read(object_id(id_, "subnet"))
        query = list_query(req, {"reservation": id_filter("reservation")}).where(subnet=subnet.id)
        _render(req, resp, self._services.free_space.leases(query))


class LeasesOfReservation:
    """The leases of one reservation."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def on_get(self, req: falcon.Request, resp: falcon.Response, id_: str) -> None:
        """List them, subnet by subnet, lowest address first."""
        negotiate(req, "leases")
        reservation = self._services.stores.reservations.get(object_id(id_, "reservation"))
        query = list_query(req, {}).where(reservation=reservation.id)
        _render(req, resp, self._services.free_space.leases(query))


def lease_item(services: Services) -> ItemResource[Lease]:
    """Return the resource of a lease; deleting it gives its address back."""
    return ItemResource(
        services,
        services.stores.leases,
        Lease.to_json,
        lambda id_, revisions, _: services.releaser.release_lease(id_, revisions),
    )


def _render(req: falcon.Request, resp: falcon.Response, page: Page[Lease]) -> None:
    render_page(req, resp, "leases", page, partial(map, Lease.to_json))
