"""Errors as problem details by RFC 9457."""

from __future__ import annotations

import logging
from typing import Any

import falcon

from ipam.errors import IpamError
from ipam.models.audit_context import current_audit_context
from ipam.util.lossless_json import dumps

log = logging.getLogger(__name__)
MEDIA_TYPE = "application/problem+json"
RETRY_AFTER_S = 2
# How a token may be sent.
_CHALLENGE = 'Bearer realm="ipam", Basic realm="ipam", charset="UTF-8"'

# Status and title of every problem; docs/errors.md has a paragraph for each.
PROBLEMS: dict[str, tuple[int, str]] = {
    "malformed-json": (400, "Malformed JSON"),
    "malformed-request": (400, "Malformed HTTP request"),
    "invalid": (422, "Invalid request body"),
    "invalid-parameter": (400, "Invalid parameter or header"),
    "unknown-parameter": (400, "Unknown parameter"),
    "cross-site": (403, "Cross-site request refused"),
    "unauthorized": (401, "Unauthorized"),
    "forbidden": (403, "Forbidden"),
    "too-many-attempts": (429, "Too many attempts"),
    "not-found": (404, "Not found"),
    "method-not-allowed": (405, "Method not allowed"),
    "not-acceptable": (406, "Not acceptable"),
    "unsupported-media-type": (415, "Unsupported media type"),
    "too-large": (413, "Body too large"),
    "headers-too-large": (431, "Headers too large"),
    "not-implemented": (501, "Not implemented"),
    "stale": (412, "Revision out of date"),
    "subnet-overlap": (409, "Subnet overlaps another"),
    "exhausted": (409, "Not enough free addresses"),
    "address-taken": (409, "Address already taken"),
    "not-empty": (409, "Resource is not empty"),
    "rejected": (422, "Rejected by a hook"),
    "not-queued": (409, "Job is no longer queued"),
    "given-up": (500, "Job given up"),
    "unavailable": (503, "Service unavailable"),
    "internal": (500, "Internal error"),
}


def problem(slug: str, detail: str, **facts: Any) -> dict[str, Any]:
    """Return the body of a problem."""
    status, title = PROBLEMS[slug]
    return {"type": f"/problems/{slug}", "title": title, "status": status, "detail": detail, **facts}


def problem_of(record: dict[str, Any]) -> dict[str, Any]:
    """Return the problem that a failed job has recorded."""
    error = IpamError.from_record(record)
    return problem(error.slug, error.detail, **error.facts)


def render_error(resp: falcon.Response, error: IpamError) -> None:
    """Answer with *error*."""
    _render(resp, error.slug, error.detail, error.facts)


def problem_bytes(slug: str, detail: str, facts: dict[str, Any], request_id: str | None) -> bytes:
    """Return the body of the problem that the request of this id is answered with."""
    body = problem(slug, detail, **facts)
    if request_id:
        body["request_id"] = request_id
    return f"{dumps(body)}\n".encode()


def _render(resp: falcon.Response, slug: str, detail: str, facts: dict[str, Any]) -> None:
    resp.status = PROBLEMS[slug][0]
    resp.content_type = MEDIA_TYPE
    resp.data = problem_bytes(slug, detail, facts, current_audit_context().request_id)
    if slug == "unavailable":
        resp.set_header("Retry-After", str(RETRY_AFTER_S))
    if slug == "too-many-attempts":
        resp.set_header("Retry-After", str(facts["retry_after"]))
    if slug == "unauthorized":
        resp.set_header("WWW-Authenticate", _CHALLENGE)


def on_ipam_error(req: falcon.Request, resp: falcon.Response, error: IpamError, params: dict[str, Any]) -> None:
    """Answer an error that the services raised."""
    del params
    if error.slug == "unavailable":
        cause = f" ({error.__cause__})" if error.__cause__ else ""
        log.warning("%s %s: %s%s", req.method, req.path, error.detail, cause)
    render_error(resp, error)


def on_http_error(
    req: falcon.Request, resp: falcon.Response, error: falcon.HTTPError, params: dict[str, Any]
) -> None:
    """Answer an error that Falcon raised before any of our code ran."""
    del params
    for name, value in dict(error.headers or {}).items():
        resp.set_header(name, value)
    if isinstance(error, falcon.HTTPNotFound):
        _render(resp, "not-found", f"There is nothing at {req.path}; see docs/api.md for the routes.", {})
    elif isinstance(error, falcon.HTTPMethodNotAllowed):
        allowed = resp.get_header("Allow") or "none"
        _render(resp, "method-not-allowed", f"{req.method} is not allowed at {req.path}; allowed: {allowed}.", {})
    else:
        _render(resp, "invalid-parameter", error.description or error.title or "The request is not valid HTTP.", {})


def on_crash(req: falcon.Request, resp: falcon.Response, error: Exception, params: dict[str, Any]) -> None:
    """Answer a fault of our own: the log gets the exception, the caller does not."""
    del params
    log.error("%s %s failed", req.method, req.path, exc_info=error)
    _render(resp, "internal", "The server failed to handle this request; its log says more.", {})
