"""GET, PATCH, PUT and DELETE of a single resource, shared by all kinds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeVar

import falcon
from bson import ObjectId

from ipam.api.http.accepted import render_accepted, wait_for
from ipam.api.http.coalesced_reader import CoalescedReader
from ipam.api.http.etags import accepted_revisions
from ipam.api.http.media_types import fall_back_to_json, negotiate, read_object
from ipam.api.http.prefer import parse_prefer
from ipam.api.http.query_params import refuse_unknown
from ipam.api.http.readonly_fields import strip_readonly
from ipam.api.http.responses import Json, render
from ipam.models.description import patched, replaced
from ipam.models.document import Document
from ipam.models.job import Job
from ipam.storage.document_store import DocumentStore
from ipam.wiring import Services

D = TypeVar("D", bound=Document)


class ItemResource(Generic[D]):
    """The routes of a single resource whose name, tags and metadata can be written.

    Args:
        store: Where it is kept.
        show: Its JSON.
        delete: Removes it, given its id, the revisions that may be removed and the query parameters; returns the
            job that does so, if it takes long.
        parameters: Those that DELETE knows.
    """

    def __init__(
        self,
        services: Services,
        store: DocumentStore[D],
        show: Callable[[D], Json],
        delete: Callable[[ObjectId, frozenset[int] | None, Mapping[str, Any]], Job | None],
        *,
        parameters: tuple[str, ...] = (),
    ) -> None:
        self._services = services
        self._store = store
        self._kind = store.kind
        self._reader = CoalescedReader(store)
        self._show = show
        self._delete = delete
        self._parameters = parameters

    def on_get(self, req: falcon.Request, resp: falcon.Response, id_: str) -> None:
        """Show it."""
        negotiate(req, self._kind)
        refuse_unknown(req)
        render(req, resp, self._kind, self._show(self._reader.get(self._store.id_of(id_))))

    def on_patch(self, req: falcon.Request, resp: falcon.Response, id_: str) -> None:
        """Change what the body names."""
        self._write(req, resp, id_, patched)

    def on_put(self, req: falcon.Request, resp: falcon.Response, id_: str) -> None:
        """Replace what can be written."""
        self._write(req, resp, id_, replaced)

    def on_delete(self, req: falcon.Request, resp: falcon.Response, id_: str) -> None:
        """Remove it; a body, as the old client sends one, is ignored."""
        refuse_unknown(req, *self._parameters)
        waiting = parse_prefer(req)
        job = self._delete(self._store.id_of(id_), accepted_revisions(req), req.params)
        if job is not None:
            (job,) = wait_for(self._services, req, resp, [job], waiting)
            if not job.state.terminal:
                fall_back_to_json(req, "job")
                render_accepted(req, resp, job)
                return
        resp.status = 204
        resp.set_header("Location", f"/{self._kind}s")

    def _write(self, req: falcon.Request, resp: falcon.Response, id_: str, change: Callable[[D, Json], D]) -> None:
        negotiate(req, self._kind)
        refuse_unknown(req)
        body = read_object(req, self._kind)

        def changed(document: D) -> D:
            shown = self._show(document)
            fixed = {name: shown[name] for name in document.fixed()}
            written = change(document, strip_readonly(body, fixed, document.computed()))
            return self._services.admission.review_update(document, written)

        written = self._store.describe(self._store.id_of(id_), changed, accepted_revisions(req))
        render(req, resp, self._kind, self._show(written), location=f"/{self._kind}s/{written.public_id}")
