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
from ipam.models.ledger import Ledger
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
        _list(self._services, req, resp, [_ledger_of(self._services, id_)])


class PoolFreeSpace:
    """The free space of a pool's subnets."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def on_get(self, req: falcon.Request, resp: falcon.Response, id_: str) -> None:
        """List them like those of a subnet, subnet after subnet."""
        negotiate(req, "free")
        pool = self._services.stores.pools.get(object_id(id_, "pool"))
        _list(self._services, req, resp, self._services.stores.ledgers.of_pool(pool.id))


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
        ledger = _ledger_of(self._services, id_)
        block = block or network_around(ledger)
        if block.version != ledger.start.version:
            raise InvalidParameter(f"block: is IPv{block.version}, the subnet is IPv{ledger.start.version}.")
        cells = self._services.free_space.cells(ledger, block)
        render(req, resp, "map", {"subnet": str(ledger.id), "block": str(block), "cells": list(map(_cell, cells))})


def _ledger_of(services: Services, id_: str) -> Ledger:
    """Return the ledger of the subnet that a path names."""
    subnet = services.stores.subnets.read(object_id(id_, "subnet"))
    ledger = services.stores.ledgers.find(subnet.id)
    if ledger is None:
        raise services.stores.subnets.missing(subnet.id)
    return ledger


def _list(services: Services, req: falcon.Request, resp: falcon.Response, ledgers: Sequence[Ledger]) -> None:
    refuse_unknown(req, "prefix_length", "limit", "cursor")
    limit = whole_number(parameter(req, "limit", str(LIMIT_DEFAULT)), "limit", 1, LIMIT_MAX)
    begin = _begin(parameter(req, "cursor", ""))
    longest = max((ledger.start.max_prefixlen for ledger in ledgers), default=_LONGEST)
    length = parameter(req, "prefix_length", "")
    rest = [ledger for ledger in ledgers if begin is None or to_place(begin) <= to_place(ledger.end)]
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
    shown = {"start": str(run.first), "end": str(run.last), "size": run.size, "subnet": str(run.subnet)}
    if with_cidr:
        length = run.first.max_prefixlen - (run.size - 1).bit_length()
        return {"cidr": f"{run.first}/{length}", **shown}
    return shown


def _cell(cell: MapCell) -> Json:
    return {"cidr": str(cell.network), "used": cell.used, "cooling": 0, "excluded": cell.excluded}
