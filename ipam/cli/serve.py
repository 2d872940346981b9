"""`ipam serve`: the web process."""

from __future__ import annotations

import socket
import threading
from collections.abc import Sequence
from contextlib import nullcontext
from functools import partial

import click

from ipam.api.app import ApiOptions, create_app
from ipam.api.http.metrics import share, shared_folder
from ipam.api.resources.health import ROUTES as HEALTH_ROUTES
from ipam.api.server.prefork import run_prefork
from ipam.api.server.request_threads import RequestThreads
from ipam.api.server.wsgi_server import Server, listen_on
from ipam.cli.database_startup import prepare_database
from ipam.cli.options import BROKER, BUS, DATABASE, with_settings
from ipam.settings import Settings
from ipam.util.cpu_affinity import least_used_cpus, pin_to_cpu
from ipam.util.gc_tuning import freeze_gc
from ipam.wiring import (
    broker_endpoint,
    build_admission,
    build_services,
    declared_hooks,
    open_stores,
    web_registration,
)
from ipam.workers.celery_app import create_failover_celery, ping_workers
from ipam.workers.celery_dispatcher import CeleryDispatcher
from ipam.workers.result_codec import ResultCodec
from ipam.workers.result_listener import ResultListener

# How long workers have to answer that they are there.
_PING_TIMEOUT_S = 1.0


@click.command()
@with_settings(
    *("host", "port", "hosts", "auth", "trusted_proxies", "insecure"),
    *("processes", "any_core", "threads", "stop_timeout_s", "open_metrics", "metrics_pools"),
    *(*DATABASE, "mongo_timeout_s", *BROKER, "claim_timeout_s"),
    *("consul_service", "consul_address", "consul_tags", "consul_remove_after_s", "hooks", *BUS),
)
def serve(settings: Settings) -> None:
    """Serve the HTTP API."""
    settings.refuse_open("host")
    declared_hooks(settings)  # What is wrong with them is said here, and not by each process.
    sockets = listen_on(settings.host, settings.port)
    cores = [] if settings.any_core else least_used_cpus()

    def serve_at(place: int) -> None:
        pin_to_cpu(cores, place)
        if settings.processes > 1:
            share(place)
        _serve(settings, sockets)

    with shared_folder() if settings.processes > 1 else nullcontext():
        run_prefork(settings.processes, serve_at, sockets)


def _serve(settings: Settings, sockets: Sequence[socket.socket]) -> None:
    """Run a web process."""
    admission = build_admission(settings)
    stores = open_stores(settings, settings.mongo_timeout_s)
    prepare_database(stores)
    app = create_failover_celery(settings, broker_endpoint(settings))
    codec = ResultCodec(stores.positions.secret)
    dispatcher = CeleryDispatcher(app, codec)
    services = build_services(stores, settings, dispatcher, admission)
    stopping = threading.Event()
    server = Server(
        create_app(
            services,
            dispatcher.check,
            stopping,
            ApiOptions(
                hosts=settings.own_hosts(),
                need_token=settings.auth == "token",
                trusted_proxies=settings.proxies(),
                open_metrics=settings.open_metrics,
                metrics_pools=settings.metrics_pools,
            ),
            partial(ping_workers, app, _PING_TIMEOUT_S),
        ),
        sockets=sockets,
        threads=RequestThreads(settings.threads, HEALTH_ROUTES),
        stopping=stopping,
        stop_timeout_s=settings.stop_timeout_s,
    )
    listener = ResultListener(app, codec, services.job_waiter.on_results, services.job_waiter.set_push_available)
    listener.start()
    registration = web_registration(settings, server.port)
    freeze_gc()
    if registration is None:
        server.run()
    else:
        registration.keep()
        server.run(registration.leave)
    listener.stop()
    stores.whole.close()
