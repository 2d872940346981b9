"""Tokens and roles: which caller a request has, and whether that may do what it asks for."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import falcon

from ipam.api.http.authenticator import Authenticator
from ipam.api.http.credentials import Networks, client_address, presented_token, token_of
from ipam.errors import Forbidden
from ipam.models.audit_context import current_audit_context, set_audit_context
from ipam.models.token import Role
from ipam.util.log_limit import LogLimit

log = logging.getLogger(__name__)
_READING = ("GET", "HEAD", "OPTIONS")
# What a token may not do is in the log at most so often for each token.
_REFUSAL_LOGGED_EVERY_S = 60.0


@dataclass(frozen=True, slots=True)
class Access:
    """The roles that a route needs; None where no token is needed.

    Attributes:
        read: For GET and HEAD.
        write: For every other method.
    """

    read: Role | None = Role.VIEWER
    write: Role | None = Role.VIEWER

    def role(self, method: str) -> Role | None:
        """Return the role that *method* needs."""
        return self.read if method in _READING else self.write


class Authentication:
    """Middleware: lets in only what a token allows.

    Args:
        authenticator: Finds the token; None if no token is asked for.
        access: What each route needs, by its path.
        trusted_proxies: The networks of proxies whose word on the caller's address is taken.
    """

    def __init__(
        self, authenticator: Authenticator | None, access: Mapping[str, Access], trusted_proxies: Networks
    ) -> None:
        self._authenticator = authenticator
        self._access = access
        self._trusted_proxies = trusted_proxies
        self._log_limit = LogLimit(_REFUSAL_LOGGED_EVERY_S)

    def process_request(self, req: falcon.Request, _resp: falcon.Response) -> None:
        """Find the caller's token; changes are made in its name, whatever `X-Actor` says.

        Raises:
            Unauthorized: If there is none that can be used, whether there is anything at this path or not.
        """
        if self._authenticator is None or self._is_public(req):
            return
        address = client_address(req, self._trusted_proxies)
        token = self._authenticator.authenticate(presented_token(req), address)
        req.context.token = token
        set_audit_context(replace(current_audit_context(), actor=token.actor))

    def process_resource(
        self, req: falcon.Request, _resp: falcon.Response, _resource: object, _params: dict[str, Any]
    ) -> None:
        """Check that the token has the role that the route needs.

        Raises:
            Forbidden: If it has not.
        """
        token, needed = token_of(req), self._access[req.uri_template or ""].role(req.method)
        if token is not None and needed is not None and not token.role.includes(needed):
            if self._log_limit.allows(token.public_id):
                log.warning("refused %s: %s %s needs the role %s", token.actor, req.method, req.path, needed)
            raise Forbidden(
                f"The token {token.public_id} is for a {token.role}; {req.method} {req.uri_template} needs "
                f"the role {needed}.",
                role=needed.value,
            )

    def _is_public(self, req: falcon.Request) -> bool:
        return any(
            access.role(req.method) is None and path.fullmatch(req.path) for path, access in self._may_be_public
        )

    @cached_property
    def _may_be_public(self) -> list[tuple[re.Pattern[str], Access]]:
        """The routes that need no token to read or to write, the application being made."""
        return [
            (re.compile(re.sub(r"\{\w+\}", "[^/]+", path)), access)
            for path, access in self._access.items()
            if None in (access.read, access.write)
        ]
