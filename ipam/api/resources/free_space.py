"""/subnets/{id}/free, /pools/{id}/free and /subnets/{id}/map"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice

import falcon

from ipam.allocation.free_space import FreeRange, MapCell, network_around
from ipam.api.http.media_types import negotiate
from ipam.api.http.query_params import parameter, parse_with, refuse_unknown, whole_number
from ipam.api.http.responses import Json, render, render_list
from ipam.errors import InvalidParameter, ValidationFailed
from ipam.models.addresses import Address, to_place
from ipam.models.cidr import parse_address, parse_network
from ipam.models.document import object_id
from ipam.models.subnet import Subnet
from ipam.storage.query import LIMIT_DEFAULT, LIMIT_MAX
from ipam.wiring import Services

_LONGEST = 128


class SubnetFreeSpace:
    """The free space of a subnet."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def on_get(self, req: falcon.Request, resp: falcon.Response, id_: str) -> None:
        """List its free runs, or with `?prefix_length=` the free networks of that size, lowest address first."""
        negotiate(req, "free")
        _list(self._services, req, resp, [self._services.stores.subnets.get(object_id(id_, "subnet"))])


class PoolFreeSpace:
    """The free space of a pool's subnets."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def on_get(self, req: falcon.Request, resp: falcon.Response, id_: str) -> None:
        """List them like those of a subnet, subnet after subnet."""
        negotiate(req, "free")
        pool = self._services.stores.pools.get(object_id(id_, "pool"))
        _list(self._services, req, resp, self._services.stores.subnets.of_pool(pool.id))


class SubnetMap:
    """A picture of one subnet."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def on_get(self, req: falcon.Request, resp: falcon.Response, id_: str) -> None:
        """Show how much is taken in each part of `?block=`, without it of all of the subnet."""
        negotiate(req, "map")
        refuse_unknown(req, "block")
        text = parameter(req, "block", "")
        block = parse_with(text, "block", parse_network) if text else None
        subnet = self._services.stores.subnets.get(object_id(id_, "subnet"))
        block = block or network_around(subnet)
        if block.version != subnet.start.version:
            raise InvalidParameter(f"block: is IPv{block.version}, the subnet is IPv{subnet.start.version}.")
        cells = self._services.free_space.cells(subnet, block)
        render(req, resp, "map", {"subnet": str(subnet.id), "block": str(block), "cells": list(map(_cell, cells))})


def _list(services: Services, req: falcon.Request, resp: falcon.Response, subnets: Sequence[Subnet]) -> None:
    refuse_unknown(req, "prefix_length", "limit", "cursor")
    limit = whole_number(parameter(req, "limit", str(LIMIT_DEFAULT)), "limit", 1, LIMIT_MAX)
    begin = _begin(parameter(req, "cursor", ""))
    longest = max((subnet.start.max_prefixlen for subnet in subnets), default=_LONGEST)
    length = parameter(req, "prefix_length", "")
    rest = [subnet for subnet in subnets if begin is None or to_place(begin) <= to_place(subnet.end)]
    found: Iterator[FreeRange]
    if length:
        found = services.free_space.free_networks(rest, begin, whole_number(length, "prefix_length", 0, longest))
    else:
        found = services.free_space.free_runs(rest, begin)
    runs = list(islice(found, limit + 1))
    more = str(runs[limit].first) if len(runs) > limit else None
    render_list(req, resp, "free", [_free(run, with_cidr=bool(length)) for run in runs[:limit]], more)


def _begin(cursor: str) -> Address | None:
    """Return where the page begins: a cursor is the address that comes first."""
    try:
        return parse_address(cursor, "") if cursor else None
    except ValidationFailed:
        raise InvalidParameter("cursor: is not one that a page of this list carried; follow its `next`.") from None


def _free(run: FreeRange, *, with_cidr: bool) -> Json:
    shown = {"start": str(run.first), "end": str(run.last), "size": run.size, "subnet": str(run.subnet.id)}
    if with_cidr:
        length = run.first.max_prefixlen - (run.size - 1).bit_length()
        return {"cidr": f"{run.first}/{length}", **shown}
    return shown


def _cell(cell: MapCell) -> Json:
    return {"cidr": str(cell.network), "used": cell.used, "cooling": 0, "excluded": cell.excluded}
