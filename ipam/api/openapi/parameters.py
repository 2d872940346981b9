"""The query parameters and headers of the description, each defined once."""

from __future__ import annotations

from typing import Any

from ipam.api.http.idempotency import HEADER as IDEMPOTENCY_KEY
from ipam.api.http.prefer import WAIT_DEFAULT_S
from ipam.api.http.query_params import WAIT_MAX_S
from ipam.models.job import JobState
from ipam.storage.query import LIMIT_DEFAULT, LIMIT_MAX

Json = dict[str, Any]

TEXT: Json = {"type": "string"}
ID: Json = {"type": "string", "pattern": "^[0-9A-Fa-f]{24}$"}
TOKEN_ID: Json = {"type": "string", "pattern": "^[0-9A-Za-z]{12}$"}
TIME: Json = {"type": "string", "format": "date-time"}
PRINTABLE: Json = {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[ -~]+$"}


def _number(low: int, high: int, default: int | None = None) -> Json:
    return {"type": "integer", "minimum": low, "maximum": high, **({} if default is None else {"default": default})}


def _query(name: str, description: str, schema: Json, **more: Any) -> Json:
    return {"name": name, "in": "query", "description": description, "schema": schema, **more}


def _header(name: str, description: str, schema: Json) -> Json:
    return {"name": name, "in": "header", "description": description, "schema": schema}


# By the key that operations name them with.
PARAMETERS: dict[str, Json] = {
    "limit": _query("limit", "How many at most.", _number(1, LIMIT_MAX, LIMIT_DEFAULT)),
    "cursor": _query("cursor", "Where the page begins: follow `next` instead of making one.", TEXT),
    "name": _query("name", "Only those with this name; empty for those without one.", TEXT),
    "tag": _query(
        "tag",
        "Only those with this tag; given several times, with all of them.",
        {"type": "array", "items": TEXT},
        style="form",
        explode=True,
    ),
    "metadata": _query(
        "metadata",
        "Only those with this value in their metadata: `metadata.<path>=value`, with dots in the path.",
        {
            "type": "object",
            "patternProperties": {"^metadata\\.": TEXT},
            "additionalProperties": False,
        },
        style="form",
        explode=True,
    ),
    "pool": _query("pool", "Only those of this pool.", ID),
    "subnet": _query("subnet", "Only those of this subnet.", ID),
    "reservation": _query("reservation", "Only those of this reservation.", ID),
    "cidr": _query("cidr", "Only those that were created from this network.", TEXT),
    "start": _query("start", "Only those that begin with this address.", TEXT),
    "address-of-subnet": _query("address", "Only those that keep this address from other subnets.", TEXT),
    "address-of-lease": _query("address", "Only those of this address.", TEXT),
    "reservation-state": _query("state", "Only those in this state.", {"enum": ["active"]}),
    "job-state": _query("state", "Only those in this state.", {"enum": [state.value for state in JobState]}),
    "cascade": _query(
        "cascade",
        "Whether all that is in it is deleted as well; with `false` a resource that is not empty is kept.",
        {"type": "boolean", "default": True},
    ),
    "embed": _query("embed", "`leases` to see the leases as well.", {"enum": ["", "leases"]}),
    "prefix_length": _query(
        "prefix_length",
        "List free networks of this size instead of ranges.",
        _number(0, 128),
    ),
    "block": _query("block", "The network to show; the smallest one around the subnet, without it.", TEXT),
    "at": _query("at", "A past time: the holder at that time, by the audit log.", TIME),
    "wait-for-job": _query("wait", "Wait up to so many seconds for its end.", _number(0, WAIT_MAX_S, 0)),
    "wait-for-event": _query("wait", "Wait up to so many seconds for an event.", _number(0, WAIT_MAX_S, 0)),
    "after": _query(
        "after",
        "Only events with a later sequence; `latest` for those that are still to come.",
        {"type": "string", "pattern": "^([0-9]{1,19}|0[0-9]{19}|latest)$"},
    ),
    "subject": _query("subject", "A path: what happened to that resource and to all that is in it.", TEXT),
    "type": _query("type", "Events of this type, such as `ipam.lease.released`, or `ipam.lease.*`.", TEXT),
    "actor": _query("actor", "Changes that this caller has asked for.", TEXT),
    "since": _query("since", "Events of this time and later.", TIME),
    "until": _query("until", "Events before this time.", TIME),
    "If-None-Match": _header("If-None-Match", "Answer 304 if the body still has this ETag.", TEXT),
    "If-Match": _header("If-Match", "Change it only if it still has the revision of this ETag.", TEXT),
    "Idempotency-Key": _header(
        IDEMPOTENCY_KEY,
        "The same request with the same key has no second effect and gets the first answer, for 24 hours.",
        PRINTABLE,
    ),
    "Prefer": _header(
        "Prefer",
        f"`respond-async` to be answered at once, or `wait=N` to wait up to N seconds ({WAIT_DEFAULT_S} without "
        f"it, {WAIT_MAX_S} at most); what goes on then is answered with 202 and its job.",
        TEXT,
    ),
    "X-Actor": _header(
        "X-Actor", "The name of the caller, for the audit log; that of its token takes its place.", PRINTABLE
    ),
    "X-Request-Id": _header(
        "X-Request-Id",
        "The id of the request, for logs and the audit log: 1 to 128 printable ASCII characters without spaces. "
        "ipam makes one if there is none that can be used.",
        TEXT,
    ),
    "traceparent": _header("traceparent", "The place of the request in a trace (W3C Trace Context).", TEXT),
}
# What each part of a path is, and its schema.
PATH_PARAMETERS: dict[str, tuple[str, Json]] = {
    "id": ("The id of the resource.", ID),
    "address": ("An IPv4 or IPv6 address.", TEXT),
    "file": ("The name of the file.", TEXT),
    "slug": ("The last part of the `type` of a problem.", TEXT),
}
# What every operation takes.
OF_EVERY_REQUEST = ("X-Actor", "X-Request-Id", "traceparent")

# The headers of answers.
ANSWER_HEADERS: dict[str, Json] = {
    "ETag": {"description": "For `If-None-Match` and `If-Match`.", "schema": TEXT},
    "Link": {"description": "The next page, as `next` in the body; missing on the last one.", "schema": TEXT},
    "Location": {
        "description": "The path of the resource; after a deletion, that of its list.",
        "schema": TEXT,
    },
    "Preference-Applied": {"description": "The part of `Prefer` that was applied.", "schema": TEXT},
    "Retry-After": {"description": "Ask again after so many seconds.", "schema": {"type": "integer"}},
    "WWW-Authenticate": {"description": "How to send a token.", "schema": TEXT},
    "X-Request-Id": {"description": "The id of the request.", "schema": TEXT},
}
