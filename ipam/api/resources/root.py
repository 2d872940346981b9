"""/"""

from __future__ import annotations

import falcon

from ipam import __version__
from ipam.api.http.media_types import JSON
from ipam.api.http.query_params import refuse_unknown
from ipam.api.http.responses import render_plain

# What there is to be read without knowing any id.
_LISTS = ("pools", "subnets", "reservations", "leases", "jobs", "events")


class Root:
    """The links from `/` to all lists."""

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Say what this is, in which version, and where its lists are; lead browsers to the documentation."""
        refuse_unknown(req)
        if req.client_prefers((JSON, "text/html")) == "text/html":
            resp.status = 303
            resp.set_header("Location", "/docs")
            return
        names = (*_LISTS, "livez", "readyz", "status", "metrics", "docs")
        links = {**{name: f"/{name}" for name in names}, "openapi": "/openapi.json"}
        render_plain(resp, {"name": "ipam", "version": __version__, "links": links})
