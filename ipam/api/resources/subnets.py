"""/subnets and /pools/{id}/subnets"""

from __future__ import annotations

from functools import partial
from typing import Any

import falcon
from bson import ObjectId

from ipam.api.http import request_schemas
from ipam.api.http.idempotency import Idempotency
from ipam.api.http.item_resource import ItemResource
from ipam.api.http.media_types import negotiate, read_object
from ipam.api.http.query_params import (
    Filters,
    address_filter,
    bool_param,
    id_filter,
    list_query,
    parse_with,
    refuse_unknown,
)
from ipam.api.http.readonly_fields import strip_readonly
from ipam.api.http.responses import render, render_page
from ipam.models.addresses import to_place
from ipam.models.cidr import parse_address, parse_network
from ipam.models.document import object_id
from ipam.models.subnet import Subnet
from ipam.storage.query import Query
from ipam.storage.subnets import holding
from ipam.wiring import Services


def _of_network(text: str) -> dict[str, Any]:
    """Return the condition for subnets made from a CIDR."""
    network = parse_with(text, "cidr", parse_network)
    return {"low": to_place(network[0]), "high": to_place(network[-1]), "cidr": str(network)}


def _from_start(text: str) -> dict[str, Any]:
    """Return the condition for subnets whose range begins with an address."""
    return {"start": to_place(parse_with(text, "start", parse_address))}


_BY_RANGE: Filters = {"address": address_filter(holding), "cidr": _of_network, "start": _from_start}
FILTERS: Filters = {"pool": id_filter("pool"), **_BY_RANGE}


class SubnetCollection:
    """All subnets."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """List subnets."""
        negotiate(req, "subnets")
        _list(self._services, req, resp, list_query(req, FILTERS))


class SubnetsOfPool:
    """The subnets of one pool."""

    def __init__(self, services: Services, idempotency: Idempotency) -> None:
        self._services = services
        self._idempotency = idempotency

    def on_get(self, req: falcon.Request, resp: falcon.Response, id_: str) -> None:
        """List them."""
        negotiate(req, "subnets")
        pool = self._services.stores.pools.get(object_id(id_, "pool"))
        query = list_query(req, _BY_RANGE)
        _list(self._services, req, resp, query.where(pool=pool.id))

    def on_post(self, req: falcon.Request, resp: falcon.Response, id_: str) -> None:
        """Put a subnet into the pool."""
        negotiate(req, "subnet")
        refuse_unknown(req)
        body = read_object(req, "subnet")
        spec = request_schemas.subnet_spec(strip_readonly(body, {"id": None, "pool": id_}, Subnet.computed()))
        pool = object_id(id_, "pool")

        def create(new: ObjectId) -> None:
            subnet = self._services.provisioner.create_subnet(new, pool, spec)
            render(req, resp, "subnet", subnet.to_json(), status=201, location=f"/subnets/{subnet.id}")

        self._idempotency.once(req, resp, body, create)


def subnet_item(services: Services) -> ItemResource[Subnet]:
    """Return the resource of a subnet."""
    return ItemResource(
        services,
        services.stores.subnets,
        Subnet.to_json,
        lambda id_, revisions, params: services.cascade_deleter.delete_subnet(
            id_, revisions, cascade=bool_param(params, "cascade", default=True)
        ),
        parameters=("cascade",),
    )


def _list(services: Services, req: falcon.Request, resp: falcon.Response, query: Query) -> None:
    page = services.stores.subnets.page(query)
    render_page(req, resp, "subnets", page, partial(map, Subnet.to_json))
