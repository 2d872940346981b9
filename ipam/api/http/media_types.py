"""Media types: what is read, what is sent, and in which version."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import falcon
from falcon import mediatypes

from ipam.errors import MalformedJson, NotAcceptable, TooLarge, UnsupportedMediaType
from ipam.util.lossless_json import DuplicateKeyError, JSONDecodeError, dumps, loads

VERSION = "1.0.0"
JSON = "application/json"
VENDOR = "application/vnd.ipam."
MERGE_PATCH = "application/merge-patch+json"
_IDENTITY = "identity"
MAX_BODY_BYTES = 1024 * 1024


def vendor_type(kind: str) -> str:
    """Return the media type of *kind*, a resource or a list, with its version."""
    return f"{VENDOR}{kind}+json; version={VERSION}"


def fall_back_to_json(req: falcon.Request, kind: str) -> None:
    """Negotiate as `negotiate` does, but fall back to the plain type: the request is done already."""
    try:
        negotiate(req, kind)
    except NotAcceptable:
        req.context.plain = True


def negotiate(req: falcon.Request, *kinds: str) -> None:
    """Settle how to answer with one of *kinds*: in the plain type if that is preferred, else in the vendor type.

    Raises:
        NotAcceptable: If `Accept` allows neither.
    """
    offered = [*map(vendor_type, kinds), JSON]
    # Of any case, and with empty members, which a list may have (RFC 9110, 5.6.1.2).
    accepted = ",".join(member for member in req.accept.lower().split(",") if member.strip())
    try:
        best = mediatypes.best_match(offered, accepted or "*/*")
    except (falcon.errors.InvalidMediaType, falcon.errors.InvalidMediaRange):
        best = ""
    if not best:
        message = f"Accept: {req.accept} allows none of: {', '.join(offered)}."
        raise NotAcceptable(message)
    req.context.plain = best == JSON


def answer_type(req: falcon.Request, kind: str) -> str:
    """Return the media type to answer with, as `negotiate` settled it."""
    return JSON if req.context.plain else vendor_type(kind)


def read_object(req: falcon.Request, *kinds: str) -> dict[str, Any]:
    """Return the JSON object in the body of a request that writes one of *kinds*.

    Raises:
        UnsupportedMediaType: If the body is of another type or version, or encoded.
        TooLarge: If it is over 1 MiB.
        MalformedJson: If it is no JSON object, or names a key twice.
    """
    _check_type(req, kinds)
    raw = req.bounded_stream.read(MAX_BODY_BYTES + 1)
    if len(raw) > MAX_BODY_BYTES or (req.content_length or 0) > MAX_BODY_BYTES:
        raise too_large()
    if not raw.strip():
        raise MalformedJson("The body is empty; send a JSON object, {} at least.")
    try:
        value = loads(raw.decode("utf-8"), unique_keys=True)
        dumps(value).encode()  # A lone surrogate can be written in JSON, but not in UTF-8.
    except RecursionError:
        raise MalformedJson("The body is nested too deep.") from None
    except UnicodeError:
        raise MalformedJson("The body is not valid Unicode in UTF-8.") from None
    except DuplicateKeyError as error:
        raise MalformedJson(f"The body has the key {error.key!r} twice in one object; leave one out.") from None
    except JSONDecodeError as error:
        raise MalformedJson(f"The body is not JSON: {error}.") from None
    if not isinstance(value, dict):
        raise MalformedJson("The body must be a JSON object.")
    return value


def too_large() -> TooLarge:
    """Return what is wrong with a body over 1 MiB."""
    return TooLarge(f"The body is over {MAX_BODY_BYTES} bytes.", limit=MAX_BODY_BYTES)


def _check_type(req: falcon.Request, kinds: Sequence[str]) -> None:
    if (encoding := req.get_header("Content-Encoding") or _IDENTITY).lower() != _IDENTITY:
        raise UnsupportedMediaType(f"Content-Encoding is {encoding}; send the body as it is, without one.")
    vendor_types = (f"{VENDOR}{kind}+json" for kind in kinds)
    accepted = [*vendor_types, JSON, *([MERGE_PATCH] if req.method == "PATCH" else [])]
    media_type, parameters = mediatypes.parse_header(req.content_type or "")
    if media_type.lower() not in accepted:
        sent = req.content_type or "none"
        message = f"Content-Type is {sent}; send one of: {', '.join(accepted)}."
        raise UnsupportedMediaType(message)
    version = parameters.get("version") or VERSION
    charset = parameters.get("charset", "utf-8")
    if version != VERSION or charset.lower() not in ("utf-8", "utf8"):
        message = f"Content-Type is {req.content_type}; the version is {VERSION} and the charset UTF-8."
        raise UnsupportedMediaType(message)
