"""An example of each model: answers of an installation in which alice reserves two addresses for a printer."""

from __future__ import annotations

from pydantic import BaseModel

from ipam.models.description import Description
from ipam.wire import events, lists, requests, resources, views
from ipam.wire.model import Json
from ipam.wire.problems import Problem

_POOL_ID = "6b0e552734572cdf8cf1d55a"
_SUBNET_ID = "6b0e552734572cdf8cf1d55c"
_RESERVATION_ID = "6b0e552934572cdf8cf1d561"
_RESERVED_AT = "2026-12-01T05:03:37.870Z"
_CURSOR = "aw5VKTRXLN-M8dVh"


def _described(id_: str, name: str, time: str) -> Json:
    return {
        "id": id_,
        "name": name,
        "tags": [],
        "metadata": None,
        "created_at": time,
        "updated_at": time,
        "revision": 1,
    }


def _lease(id_: str, address: str) -> Json:
    place = {"address": address, "subnet": _SUBNET_ID, "reservation": _RESERVATION_ID}
    return {**_described(id_, "", _RESERVED_AT), **place}


_POOL: Json = {
    **_described(_POOL_ID, "office", "2026-12-01T05:03:35.724Z"),
    "tags": ["emea"],
    "metadata": {"site": "Berlin"},
    "subnets": 1,
    "size": 5,
    "used": 2,
    "free": 3,
}
_SUBNET: Json = {
    **_described(_SUBNET_ID, "printers", "2026-12-01T05:03:35.752Z"),
    "pool": _POOL_ID,
    "start": "10.0.0.1",
    "end": "10.0.0.6",
    "cidr": "10.0.0.0/29",
    "gateway": "10.0.0.1",
    "exclusions": [],
    "strategy": "next",
    "cooldown": 0,
    "size": 5,
    "used": 2,
    "free": 3,
    "utilization": 0.4,
}
_LEASES = [_lease("95e8a1e3d75425f0381b0000", "10.0.0.2"), _lease("95e8a1e3d75425f0381b0001", "10.0.0.3")]
_RESERVATION: Json = {
    **_described(_RESERVATION_ID, "lp-1", _RESERVED_AT),
    "pool": _POOL_ID,
    "subnets": [_SUBNET_ID],
    "count": 2,
    "state": "active",
    "subnet": _SUBNET_ID,
    "expires_at": None,
}
_SHOWN_RESERVATION: Json = {
    **_RESERVATION,
    "pool_metadata": {"site": "Berlin"},
    "subnet_metadata": None,
    "leases": _LEASES,
}
_JOB: Json = {
    "id": "6b0e552934572cdf8cf1d560",
    "kind": "reservation",
    "state": "succeeded",
    "pool": _POOL_ID,
    "subnet": _SUBNET_ID,
    "request": {"name": "lp-1", "tags": [], "metadata": None, "count": 2},
    "attempts": 1,
    "created_at": "2026-12-01T05:03:37.861Z",
    "started_at": _RESERVED_AT,
    "finished_at": "2026-12-01T05:03:37.873Z",
    "revision": 2,
    "reservation": _RESERVATION_ID,
    "error": None,
    "progress": {"done": 2, "total": 2},
    "actor": "alice",
    "request_id": "deploy-7",
    "traceparent": None,
}
_TOKEN: Json = {
    **_described("pIH6tqr8faCU", "provisioner", "2026-12-01T05:03:41.025Z"),
    "role": "allocator",
    "expires_at": None,
    "allowed_from": ["10.0.0.0/8"],
    "disabled": False,
    "created_by": "alice",
    "last_used_at": None,
}
_EVENT: Json = {
    "specversion": "1.0",
    "id": f"reservation-{_RESERVATION_ID}-1",
    "source": "/ipam",
    "type": "ipam.reservation.created",
    "subject": f"/reservations/{_RESERVATION_ID}",
    "time": _RESERVED_AT,
    "sequence": "00000000000000000003",
    "actor": "alice",
    "requestid": "deploy-7",
    "datacontenttype": "application/json",
    "data": {**_RESERVATION, "addresses": ["10.0.0.2-10.0.0.3"]},
}
_EXHAUSTED: Json = {
    "type": "/problems/exhausted",
    "title": "Not enough free addresses",
    "status": 409,
    "detail": "100 addresses asked for, 3 free; ask for fewer or elsewhere.",
    "asked": 100,
    "free": 3,
}
_REQUEST: Json = {"name": "lp-1", "count": 2}


def _page(name: str, *items: Json) -> Json:
    return {name: [*items], "next": f"/{name}?limit=1&cursor={_CURSOR}"}


EXAMPLES: dict[type[BaseModel], Json] = {
    Description: {"name": "office", "tags": ["emea"], "metadata": {"site": "Berlin"}},
    requests.SubnetBody: {"name": "printers", "cidr": "10.0.0.0/29", "gateway": "10.0.0.1"},
    requests.ReservationBody: _REQUEST,
    requests.ReservationListBody: {"reservations": [_REQUEST, {"count": 100}]},
    requests.TokenBody: {"name": "provisioner", "role": "allocator", "allowed_from": ["10.0.0.0/8"]},
    requests.TokenPatch: {"disabled": True},
    resources.Pool: _POOL,
    resources.Subnet: _SUBNET,
    resources.Lease: _LEASES[0],
    resources.Reservation: _SHOWN_RESERVATION,
    resources.Job: _JOB,
    resources.Token: _TOKEN,
    resources.CreatedToken: {**_TOKEN, "token": f"ipam_pIH6tqr8faCU_{'x' * 43}"},
    lists.Pools: _page("pools", _POOL),
    lists.Subnets: _page("subnets", _SUBNET),
    lists.Reservations: _page(
        "reservations", {name: value for name, value in _SHOWN_RESERVATION.items() if name != "leases"}
    ),
    lists.Leases: {"leases": _LEASES},
    lists.Jobs: _page("jobs", _JOB),
    lists.Tokens: {"tokens": [_TOKEN]},
    lists.FreeRanges: {"free": [{"start": "10.0.0.4", "end": "10.0.0.6", "size": 3, "subnet": _SUBNET_ID}]},
    events.Events: {"events": [_EVENT], "after": "00000000000000000003"},
    views.SubnetMap: {
        "subnet": _SUBNET_ID,
        "block": "10.0.0.0/31",
        "cells": [
            {"cidr": "10.0.0.0/32", "used": 0, "cooling": 0, "excluded": 1},
            {"cidr": "10.0.0.1/32", "used": 0, "cooling": 0, "excluded": 1},
        ],
    },
    views.AddressHolders: {
        "address": "10.0.0.2",
        "holders": [
            {
                "pool": _POOL_ID,
                "subnet": _SUBNET_ID,
                "lease": _LEASES[0]["id"],
                "reservation": _RESERVATION_ID,
                "name": "lp-1",
            }
        ],
    },
    views.Outcomes: {
        "outcomes": [
            {"status": 201, "location": f"/reservations/{_RESERVATION_ID}", "reservation": _SHOWN_RESERVATION},
            {"status": 409, "location": "/jobs/6b0e55299621db920b170001", "problem": _EXHAUSTED},
        ]
    },
    views.Root: {"name": "ipam", "version": "2.0.0", "links": {"pools": "/pools", "openapi": "/openapi.json"}},
    views.Liveness: {"status": "ok"},
    views.Readiness: {"status": "ok", "parts": {"database": "ok", "broker": "ok"}},
    views.InstallationState: {
        "status": "degraded",
        "version": "2.0.0",
        "parts": {
            "database": {"status": "ok"},
            "relay": {
                "status": "missing",
                "behind_s": 0.0,
                "detail": "no relay is at work: events wait; start ipam relay",
            },
        },
        "hooks": [{"name": "names", "silence": "deny", "unanswered": 0}],
    },
    Problem: {**_EXHAUSTED, "request_id": "deploy-7"},
}
