"""/openapi.json"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property

import falcon

from ipam.api.http.media_types import JSON
from ipam.api.http.query_params import refuse_unknown
from ipam.api.http.responses import render_bytes
from ipam.api.middleware.authentication import Access
from ipam.api.openapi.document import describe
from ipam.util.lossless_json import dumps


class OpenApi:
    """The description of the API.

    Args:
        access: The roles that each route needs, by its path, once the application is made.
    """

    def __init__(self, access: Mapping[str, Access]) -> None:
        self._access = access

    @cached_property
    def _body(self) -> bytes:
        return f"{dumps(describe(self._access))}\n".encode()

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Show it."""
        refuse_unknown(req)
        render_bytes(req, resp, self._body, JSON)
