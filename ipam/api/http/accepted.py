"""Waiting for jobs, and answering 202 with a job that goes on."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import falcon
from bson import ObjectId

from ipam.api.http.prefer import WaitPreference
from ipam.api.http.responses import job_json, render
from ipam.errors import Transient
from ipam.models.job import Job
from ipam.wiring import Services

log = logging.getLogger(__name__)

# Seconds after which a job is usually over; clients that poll it are told so.
POLL_AFTER_S = 1


def wait_for(  # noqa: PLR0913 (a request, and what it waits for)
    services: Services,
    req: falcon.Request,
    resp: falcon.Response,
    jobs: Sequence[Job],
    waiting: WaitPreference,
    *,
    are_new: bool = False,
) -> list[Job]:
    """Return *jobs* when all have ended, or as they are when the time that *waiting* allows is over.

    New jobs that the caller does not wait for are returned as they were accepted, without reading them again; so
    are jobs that cannot be read, for they go on all the same.
    """
    if waiting.applied:
        resp.set_header("Preference-Applied", waiting.applied)
    if are_new and not waiting.seconds:
        return list(jobs)
    ids = [job.id for job in jobs]
    ended = services.job_waiter.wait(ids, waiting.seconds, req.context.given_up, are_new=are_new)
    others: dict[ObjectId, Job] = {}
    try:
        others = services.stores.jobs.get_many(job.id for job in jobs if job.id not in ended)
    except Transient as error:
        log.warning("jobs are shown as they were accepted: %s", error.detail)
    return [ended.get(job.id) or others.get(job.id) or job for job in jobs]


def render_accepted(req: falcon.Request, resp: falcon.Response, job: Job) -> None:
    """Answer 202 with *job* and where to poll it."""
    resp.set_header("Retry-After", str(POLL_AFTER_S))
    render(req, resp, "job", job_json(job), status=202, location=f"/jobs/{job.id}")
