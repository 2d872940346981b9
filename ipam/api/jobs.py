"""/jobs"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import partial

import falcon
from bson import ObjectId

from ipam.api.media import negotiate
from ipam.api.preferences import Waiting
from ipam.api.queries import (
    WAIT_MAX_S,
    Filters,
    id_filter,
    list_query,
    one_of,
    parameter,
    refuse_unknown,
    whole_number,
)
from ipam.api.reading import Reader
from ipam.api.rendering import job_json, render, render_page
from ipam.errors import Transient
from ipam.models.documents import Job, JobState
from ipam.models.store import object_id
from ipam.wiring import Services

log = logging.getLogger(__name__)
FILTERS: Filters = {
    "state": one_of("state", tuple(state.value for state in JobState)),
    "pool": id_filter("pool"),
    "subnet": id_filter("subnet"),
}


# While an answer is polled: about how long a job takes when nothing is in its way.
POLL_AFTER_S = 1


def wait_for(  # noqa: PLR0913 (a request, and what it waits for)
    services: Services,
    req: falcon.Request,
    resp: falcon.Response,
    jobs: Sequence[Job],
    waiting: Waiting,
    *,
    are_new: bool = False,
) -> list[Job]:
    """Return *jobs* at their ends, or as they are when *waiting* is over.

    Those that are new, and that nobody waits for, are as they were accepted: then they are not read again. Nor does
    it fail if they cannot be read: they go on.
    """
    if waiting.applied:
        resp.set_header("Preference-Applied", waiting.applied)
    if are_new and not waiting.seconds:
        return list(jobs)
    ids = [job.id for job in jobs]
    ended = services.waiting.wait(ids, waiting.seconds, req.context.given_up, are_new=are_new)
    others: dict[ObjectId, Job] = {}
    try:
        others = services.stores.jobs.get_many(job.id for job in jobs if job.id not in ended)
    except Transient as error:
        log.warning("jobs are shown as they were accepted: %s", error.detail)
    return [ended.get(job.id) or others.get(job.id) or job for job in jobs]


def render_accepted(req: falcon.Request, resp: falcon.Response, job: Job) -> None:
    """Answer that *job* goes on, and where to look for its end."""
    resp.set_header("Retry-After", str(POLL_AFTER_S))
    render(req, resp, "job", job_json(job), status=202, location=f"/jobs/{job.id}")


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
    """One job."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._reader = Reader(services.stores.jobs)

    def on_get(self, req: falcon.Request, resp: falcon.Response, id_: str) -> None:
        """Show it; `?wait=N` waits up to N seconds for its end."""
        negotiate(req, "job")
        refuse_unknown(req, "wait")
        seconds = whole_number(parameter(req, "wait", "0"), "wait", 0, WAIT_MAX_S)
        job = self._reader.get(object_id(id_, "job"))
        if seconds and not job.state.terminal:
            ended = self._services.waiting.wait([job.id], seconds, req.context.given_up)
            job = ended.get(job.id) or self._reader.get(job.id)
        render(req, resp, "job", job_json(job))

    def on_delete(self, req: falcon.Request, resp: falcon.Response, id_: str) -> None:
        """Cancel it, while no worker has begun it."""
        refuse_unknown(req)
        self._services.jobs.cancel(object_id(id_, "job"))
        resp.status = 204
        resp.set_header("Location", "/jobs")
