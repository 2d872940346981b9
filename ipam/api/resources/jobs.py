"""/jobs"""

from __future__ import annotations

import logging
from functools import partial

import falcon

from ipam.api.http.coalesced_reader import CoalescedReader
from ipam.api.http.credentials import token_of
from ipam.api.http.media_types import negotiate
from ipam.api.http.query_params import (
    WAIT_MAX_S,
    Filters,
    enum_filter,
    id_filter,
    list_query,
    parameter,
    refuse_unknown,
    whole_number,
)
from ipam.api.http.responses import job_json, render, render_page
from ipam.errors import Forbidden
from ipam.models.document import object_id
from ipam.models.job import JobState
from ipam.models.token import Role
from ipam.wiring import Services

log = logging.getLogger(__name__)
FILTERS: Filters = {
    "state": enum_filter("state", tuple(state.value for state in JobState)),
    "pool": id_filter("pool"),
    "subnet": id_filter("subnet"),
}


class JobCollection:
    """All jobs of the last seven days."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """List jobs."""
        negotiate(req, "jobs")
        page = self._services.stores.jobs.page(list_query(req, FILTERS, described=False))
        render_page(req, resp, "jobs", page, partial(map, job_json))


class JobItem:
    """A single job."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._reader = CoalescedReader(services.stores.jobs)

    def on_get(self, req: falcon.Request, resp: falcon.Response, id_: str) -> None:
        """Show it; `?wait=N` waits up to N seconds for its end."""
        negotiate(req, "job")
        refuse_unknown(req, "wait")
        seconds = whole_number(parameter(req, "wait", "0"), "wait", 0, WAIT_MAX_S)
        job = self._reader.get(object_id(id_, "job"))
        if seconds and not job.state.terminal:
            ended = self._services.job_waiter.wait([job.id], seconds, req.context.given_up)
            job = ended.get(job.id) or self._reader.get(job.id)
        render(req, resp, "job", job_json(job))

    def on_delete(self, req: falcon.Request, resp: falcon.Response, id_: str) -> None:
        """Cancel it, while no worker has begun it.

        Raises:
            Forbidden: If another token has asked for it, and this one is for no operator.
        """
        refuse_unknown(req)
        wanted, token = object_id(id_, "job"), token_of(req)
        if token is not None and not token.role.includes(Role.OPERATOR):
            job = self._services.stores.jobs.get(wanted)
            if not token.is_actor(job.audit_context.actor):
                raise Forbidden(f"The job {id_} was asked for by another token.", role=Role.OPERATOR.value)
        self._services.job_queue.cancel(wanted)
        resp.status = 204
        resp.set_header("Location", "/jobs")
