"""`ipam worker`: a Celery worker."""

from __future__ import annotations

import sys
from functools import cache

import click

from ipam.cli.database_startup import BACKGROUND_TIMEOUT_S, prepare_database
from ipam.cli.options import BROKER, BUS, DATABASE, with_settings
from ipam.settings import Settings
from ipam.wiring import Services, broker_endpoint, build_admission, build_services, declared_hooks, open_stores
from ipam.workers.celery_app import create_failover_celery, follow_broker, run_worker
from ipam.workers.celery_dispatcher import CeleryDispatcher
from ipam.workers.result_codec import ResultCodec
from ipam.workers.target_lock import TargetLock, open_lock_file
from ipam.workers.tasks import register_tasks

# How long a worker that is to stop waits for hooks that it has asked.
_FINISH_TIMEOUT_S = 5.0


@click.command()
@with_settings(
    *(*DATABASE, *BROKER, "concurrency", "remote_control"),
    *("claim_timeout_s", "recovery_interval_s", "hooks", *BUS),
)
def worker(settings: Settings) -> None:
    """Carry out reservation requests (a Celery worker)."""
    declared_hooks(settings)  # What is wrong with them is said here, and not by each process of the worker.
    stores = open_stores(settings, settings.mongo_timeout_s, follow=False)
    prepare_database(stores)
    stores.whole.close()
    app = create_failover_celery(settings, broker_endpoint(settings))

    @cache
    def services() -> Services:
        # In a process that was forked: what it follows by is its own, connections included.
        follow_broker(app, broker_endpoint(settings))
        stores = open_stores(settings, BACKGROUND_TIMEOUT_S)
        dispatcher = CeleryDispatcher(app, ResultCodec(stores.positions.secret))
        return build_services(stores, settings, dispatcher, build_admission(settings))

    def finish() -> None:
        if services.cache_info().currsize:  # Else it never had anything to do.
            services().admission.drain(_FINISH_TIMEOUT_S)

    # One process at least is left to all others.
    turns = TargetLock(settings.claim_timeout_s, max(1, settings.concurrency // 2), open_lock_file())
    register_tasks(app, services, turns, settings.recovery_interval_s)
    sys.exit(run_worker(app, settings, finish))
