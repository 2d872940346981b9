"""/"""

from __future__ import annotations

import falcon

from ipam import __version__
from ipam.api.http.query_params import refuse_unknown
from ipam.api.http.responses import render_plain

# What there is to be read without knowing any id.
_LISTS = ("pools", "subnets", "reservations", "leases", "jobs", "events")


class Root:
    """The links from `/` to all lists."""

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Say what this is, in which version, and where its lists are."""
        refuse_unknown(req)
        links = {name: f"/{name}" for name in (*_LISTS, "livez", "readyz", "status", "metrics")}
        render_plain(resp, {"name": "ipam", "version": __version__, "links": {**links, "openapi": "/openapi.json"}})
