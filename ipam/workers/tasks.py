"""The tasks: each a name, a retry policy and one call."""

from __future__ import annotations

import logging
from collections.abc import Callable

from bson import ObjectId
from celery import Celery

from ipam.errors import Transient
from ipam.util.outages import Outage
from ipam.wiring import Services
from ipam.workers.celery_app import CARRY_OUT, RECOVER
from ipam.workers.target_lock import TargetLock

log = logging.getLogger(__name__)


def register_tasks(
    app: Celery, services: Callable[[], Services], turns: TargetLock, recovery_interval_s: float
) -> None:
    """Give *app* its tasks.

    *services* is called within a task only, hence in the process that runs it: a database client must not be
    carried over a fork. *turns* must be made before it.
    """

    @app.task(name=CARRY_OUT, autoretry_for=(Transient,), max_retries=None, retry_backoff=1, retry_backoff_max=10)
    def carry_out(target: str) -> None:
        services().job_runner.run(ObjectId(target), turns)

    outage = Outage(log, "recovery needs the database", "What was left behind waits; the next look is on its way.")

    @app.task(name=RECOVER)
    def recover() -> None:
        needed = services()
        try:
            needed.recovery.run()
            needed.monitor.recovered(recovery_interval_s)
        except Transient as error:  # Not retried: the next one is on its way.
            outage.begin(needed.stores.whole.servers, error)
        else:
            outage.end()
