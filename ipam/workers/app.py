"""The Celery application."""

from __future__ import annotations

from datetime import timedelta

from celery import Celery
from kombu import Queue

from ipam.settings import Settings

CARRY_OUT = "ipam.carry_out"
RECOVER = "ipam.recover"
# Longer than what a worker has fetched already takes, or recovery would never run where there is much to do.
_RECOVERY_WAITS_S = 60.0


def create_celery(settings: Settings) -> Celery:
    """The Celery application that *settings* describe, without its tasks.

    There is no result backend: how a job stands is read from its document, which is there before its message.
    """
    app = Celery("ipam", broker=settings.broker, set_as_current=False)
    # Named after the database: two installations may share a broker.
    jobs = f"ipam.{settings.database}"
    recovery = f"{jobs}.recovery"
    app.conf.update(
        task_default_queue=jobs,
        # Recovery has a queue of its own: behind a backlog of jobs its message would be the last to be heard.
        task_queues=[Queue(jobs, routing_key=jobs), Queue(recovery, routing_key=recovery)],
        task_routes={RECOVER: {"queue": recovery}},
        task_serializer="json",
        accept_content=["json"],
        task_ignore_result=True,
        # Tasks may be run twice without harm, so a message counts as handled only when its work is done.
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        worker_prefetch_multiplier=4,
        worker_concurrency=settings.concurrency,
        worker_hijack_root_logger=False,
        worker_send_task_events=True,
        # A broker that restarts is waited for as long as it takes.
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_connection_timeout=2,
        broker_pool_limit=settings.threads,
        broker_transport_options=_transport_options(settings),
        beat_scheduler="celery.beat:Scheduler",  # In memory: a schedule of one interval has nothing to remember.
        beat_max_loop_interval=settings.recovery_interval_s,
        beat_schedule={
            "recover": {
                "task": RECOVER,
                "schedule": timedelta(seconds=settings.recovery_interval_s),
                # Workers that were away for an hour need one look around, not 1,800.
                "options": {"expires": max(_RECOVERY_WAITS_S, settings.recovery_interval_s)},
            }
        },
    )
    return app


def _transport_options(settings: Settings) -> dict[str, float]:
    if not settings.broker.startswith("redis"):
        return {}
    # A hung Redis must not hold a web request's thread, and a message that a dead worker had taken comes back
    # about when its job's claim runs out, though recovery does not depend on it.
    return {
        "visibility_timeout": max(60.0, 2 * settings.claim_timeout_s),
        "socket_connect_timeout": 2.0,
        "socket_timeout": 10.0,
    }
