"""The audit context of each request, from `X-Actor`, `X-Request-Id` and `traceparent`."""

from __future__ import annotations

import re
from uuid import uuid4

import falcon

from ipam.errors import InvalidParameter
from ipam.models.audit_context import AuditContext, set_audit_context

_ACTOR_MAX = 255
_ACTOR = re.compile(rf"[\x20-\x7e]{{1,{_ACTOR_MAX}}}")
_REQUEST_ID = re.compile(r"[\x21-\x7e]{1,128}")
# Version, trace, parent and flags, as W3C Trace Context has them; neither id is all zeros, and version ff is none.
_TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")


class AuditContextMiddleware:
    """Middleware: what is done within a request comes from its caller, and the answer says which request it was."""

    def process_request(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Read the audit context from the headers.

        An id that cannot be used is replaced by one of our own, a trace that cannot be followed is left out:
        neither is worth refusing a request for.

        Raises:
            InvalidParameter: If `X-Actor` is not 1 to 255 printable characters.
        """
        actor = req.get_header("X-Actor")
        audit_context = AuditContext(
            actor=_matching(_ACTOR, actor),
            request_id=_matching(_REQUEST_ID, req.get_header("X-Request-Id")) or uuid4().hex,
            traceparent=_matching(_TRACEPARENT, req.get_header("traceparent")),
        )
        set_audit_context(audit_context)
        resp.set_header("X-Request-Id", audit_context.request_id or "")
        if actor != audit_context.actor:
            raise InvalidParameter(f"X-Actor: must be 1 to {_ACTOR_MAX} printable ASCII characters.")

    def process_response(self, *_: object) -> None:
        """Forget the audit context: the thread serves another caller next."""
        set_audit_context(None)


def _matching(pattern: re.Pattern[str], text: str | None) -> str | None:
    return text if text is not None and pattern.fullmatch(text) else None
