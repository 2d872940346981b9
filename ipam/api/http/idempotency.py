"""Idempotency-Key: the same request, sent again, has no second effect and gets the first answer."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable

import falcon
from bson import ObjectId

from ipam.api.http.credentials import token_of
from ipam.api.http.media_types import JSON, VENDOR, vendor_type
from ipam.api.http.problems import render_error
from ipam.errors import InvalidParameter, Rejected, Transient, ValidationFailed
from ipam.models.audit_context import current_audit_context
from ipam.storage.idempotency import Answer, IdempotencyStore
from ipam.util.lossless_json import dumps

log = logging.getLogger(__name__)

_KEY_MAX = 255
# A larger answer is made anew from what is stored, rather than kept a second time.
_KEEP_BODY_BYTES = 1024 * 1024
_KEPT_HEADERS = ("content-type", "location", "etag", "preference-applied")
_CLIENT_ERROR, _SERVER_ERROR = 400, 500
_IDS = ("id", "pool", "subnet", "reservation")
HEADER = "Idempotency-Key"


class Idempotency:
    """Remembers the final answers of keyed requests.

    A request has its effect under an id that is chosen, and kept with the key, before anything else is
    written; so when its first process died, or is still at it, the same request joins what was begun.
    """

    def __init__(self, store: IdempotencyStore) -> None:
        self._store = store

    def once(
        self, req: falcon.Request, resp: falcon.Response, body: object, create: Callable[[ObjectId], None]
    ) -> None:
        """Call *create* with the id of what it is to create and let it answer; or give its former answer.

        If it answers with a server error rather than raise one, that attempt is over and nothing has come of it:
        the same request is tried anew under another id.

        Raises:
            ValidationFailed: If the key was used with another request.
            InvalidParameter: If the key is not 1 to 255 printable characters.
        """
        key = req.get_header(HEADER)
        if key is None:
            create(ObjectId())
            return
        if not (1 <= len(key) <= _KEY_MAX and key.isascii() and key.isprintable()):
            raise InvalidParameter(f"{HEADER}: must be 1 to {_KEY_MAX} printable ASCII characters.")
        key, new = _of_caller(req, key), ObjectId()
        record = self._store.begin(key, _fingerprint(req, body), new)
        req.context.is_repeated = record.resource != new
        if record.fingerprint != _fingerprint(req, body):
            message = "This Idempotency-Key was used with another request; use a new key for a new request."
            raise ValidationFailed(message, errors=[{"header": HEADER, "detail": message}])
        if record.answer is not None:
            _replay(req, resp, record.answer)
            return
        try:
            create(record.resource)
        except Rejected as error:
            render_error(resp, error)
        self._finish(key, record.resource, req, resp)

    def _finish(self, key: str, resource: ObjectId, req: falcon.Request, resp: falcon.Response) -> None:
        """Keep the answer under *key*, or let the same request be tried anew if it is a server error."""
        try:
            if resp.status_code >= _SERVER_ERROR:
                self._store.renew(key, resource)
            else:
                self._keep(key, req, resp)
        except Transient as error:
            if resp.status_code >= _CLIENT_ERROR:
                raise  # Nothing has happened, and next time the answer may be another: so it must not be given.
            log.warning("the answer to an %s could not be kept: %s", HEADER, error.detail)

    def _keep(self, key: str, req: falcon.Request, resp: falcon.Response) -> None:
        """Keep a final answer: one that would be given again, and does not itself ask for the request again."""
        body = resp.data or (resp.text or "").encode()
        if resp.get_header("Retry-After") is not None or len(body) > _KEEP_BODY_BYTES:
            return
        headers = {name: value for name, value in resp.headers.items() if name.lower() in _KEPT_HEADERS}
        if (kind := getattr(resp.context, "kind", None)) is not None:
            headers["content-type"] = vendor_type(kind)
        answer = Answer(resp.status_code, headers, body)
        kept = self._store.finish(key, answer)
        if kept != answer:  # The same request, sent twice at once, was answered by the other process first.
            _replay(req, resp, kept)


def is_repeated(req: falcon.Request) -> bool:
    """Return whether what *req* asks for has been asked for before, under the same key."""
    return getattr(req.context, "is_repeated", False)


def _of_caller(req: falcon.Request, key: str) -> str:
    """Return what *key* is kept as: of two callers that use the same one, each has a record of its own.

    A token is known by its id, for its name may change between a request and the same one sent again.
    """
    token = token_of(req)
    caller = current_audit_context().actor if token is None else token.public_id
    return key if caller is None else f"{caller}\0{key}"


def _fingerprint(req: falcon.Request, body: object) -> str:
    if isinstance(
        body, dict
    ):  # The case of an id means nothing, there and in the path; nor does the order of keys.
        body = {**body, **{name: str(body[name]).lower() for name in _IDS if body.get(name)}}
    wanted, path = dumps(body, sort_keys=True), req.path.lower()
    return hashlib.sha256(f"{req.method} {path} {wanted}".encode()).hexdigest()


def _replay(req: falcon.Request, resp: falcon.Response, answer: Answer) -> None:
    """Give *answer*, which was kept in its vendor type, in the type that *req* asks for."""
    resp.status, resp.text = answer.status, None
    for name in _KEPT_HEADERS:
        resp.delete_header(name)
    resp.set_headers(answer.headers)
    if req.context.plain and answer.headers["content-type"].startswith(VENDOR):
        resp.content_type = JSON
    resp.data = answer.body
