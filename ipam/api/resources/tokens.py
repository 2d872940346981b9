"""/tokens"""

from __future__ import annotations

from functools import partial
from typing import Any

import falcon

from ipam.api.http.credentials import token_of
from ipam.api.http.idempotency import HEADER
from ipam.api.http.item_resource import ItemResource
from ipam.api.http.media_types import negotiate, read_object
from ipam.api.http.query_params import list_query, refuse_unknown
from ipam.api.http.readonly_fields import strip_readonly
from ipam.api.http.request_schemas import patched_token, replaced_token, token_fields
from ipam.api.http.responses import Json, render, render_page
from ipam.errors import Forbidden, InvalidParameter, NotFound
from ipam.models.audit_context import current_audit_context
from ipam.models.token import Token, issue
from ipam.wiring import Services


class TokenCollection:
    """All tokens."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """List them, without their secrets."""
        negotiate(req, "tokens")
        page = self._services.stores.tokens.page(list_query(req))
        render_page(req, resp, "tokens", page, partial(map, Token.to_json))

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Create a token, and show its secret, this once.

        Raises:
            InvalidParameter: If it has an `Idempotency-Key`: its answer would be kept, with the secret in it.
        """
        negotiate(req, "token")
        refuse_unknown(req)
        if req.get_header(HEADER) is not None:
            raise InvalidParameter(f"{HEADER}: a token's secret is shown once; leave the header out.")
        body = strip_readonly(read_object(req, "token"), {"id": None}, Token.computed())
        token, text = issue(**token_fields(body), created_by=current_audit_context().actor)
        self._services.stores.tokens.insert(token)
        shown = {**token.to_json(), "token": text}
        render(req, resp, "token", shown, status=201, location=f"/tokens/{token.public_id}")


class TokenItem(ItemResource[Token]):
    """A single token, which can be changed by every administrator but the one who uses it."""

    def __init__(self, services: Services) -> None:
        tokens = services.stores.tokens
        super().__init__(services, tokens, Token.to_json, lambda id_, revisions, _: tokens.delete(id_, revisions))

    def on_patch(self, req: falcon.Request, resp: falcon.Response, id_: str) -> None:
        """Change what the body names."""
        self._write(req, resp, id_, partial(_by_another, req, patched_token))

    def on_put(self, req: falcon.Request, resp: falcon.Response, id_: str) -> None:
        """Replace what can be written."""
        self._write(req, resp, id_, partial(_by_another, req, replaced_token))


class OwnToken:
    """The token of the request itself."""

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Show it.

        Raises:
            NotFound: If requests need no token here.
        """
        negotiate(req, "token")
        refuse_unknown(req)
        token = token_of(req)
        if token is None:
            raise NotFound("This request has no token, and needs none: ipam runs with --auth none.")
        render(req, resp, "token", token.to_json())


def _by_another(req: falcon.Request, change: Any, token: Token, body: Json) -> Token:
    """Return *token* as *change* makes it of *body*.

    Raises:
        Forbidden: If it is that of the request: rights never change by themselves.
    """
    own = token_of(req)
    if own is not None and own.id == token.id:
        raise Forbidden("A token cannot change itself; use that of another administrator.")
    changed: Token = change(token, body)
    return changed
