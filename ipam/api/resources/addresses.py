"""/addresses/{address}"""

from __future__ import annotations

from dataclasses import asdict

import falcon

from ipam.api.http.media_types import negotiate
from ipam.api.http.query_params import address_parameter, refuse_unknown, time_parameter
from ipam.api.http.responses import render
from ipam.wiring import Services


class AddressItem:
    """An address, in all pools that have it."""

    def __init__(self, services: Services) -> None:
        self._history = services.address_history

    def on_get(self, req: falcon.Request, resp: falcon.Response, address: str) -> None:
        """Show its holder, or with `?at=TIME` its holder then, in each subnet that it lies in."""
        negotiate(req, "address")
        refuse_unknown(req, "at")
        wanted, time = address_parameter(address), time_parameter(req, "at")
        holders = self._history.current(wanted) if time is None else self._history.as_of(wanted, time)
        render(req, resp, "address", {"address": str(wanted), "holders": [asdict(one) for one in holders]})
