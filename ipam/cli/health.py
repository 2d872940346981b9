"""Health checks of the processes of this machine, for supervisors."""

from __future__ import annotations

import logging
import sys
import urllib.error
import urllib.request

import click

from ipam.cli.options import BROKER, with_settings
from ipam.errors import Transient
from ipam.settings import Settings
from ipam.util.heartbeat import Heartbeat
from ipam.util.urls import in_url
from ipam.wiring import broker_endpoint
from ipam.workers.celery_app import create_celery, ping_workers, worker_name

log = logging.getLogger(__name__)
PROCESSES = ("web", "worker", "beat", "relay")
_TIMEOUT_S = 4.0
# Longer than the longest call to the database or the broker that they wait for between two beats.
_SILENT_S = 90.0
_ANY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 (which is where to ask, then)


def fault_of(process: str, settings: Settings) -> str | None:
    """Return why a *process*, one of `PROCESSES`, is to be started again; None if it is not."""
    if process == "web":
        return _fault_of_web(settings)
    if process == "worker":
        return _fault_of_worker(settings)
    age_s = Heartbeat(process, settings.database).age_s()
    if age_s is None:
        return f"no ipam {process} on the database {settings.database!r} was ever at work on this machine"
    return f"ipam {process} was last at work {age_s:.0f} s ago" if age_s > _SILENT_S else None


def _fault_of_web(settings: Settings) -> str | None:
    url = f"http://{in_url(_ANY_ADDRESS.get(settings.host, settings.host))}:{settings.port}/livez"
    try:
        with urllib.request.urlopen(url, timeout=_TIMEOUT_S):
            return None
    except (urllib.error.URLError, OSError) as error:
        return f"{url} does not answer: {getattr(error, 'reason', error)}"


def _fault_of_worker(settings: Settings) -> str | None:
    """Return why the worker of this machine is to be started again, if it does not answer over the broker."""
    name = worker_name()
    app = create_celery(settings, broker_endpoint(settings))
    try:
        answers = ping_workers(app, _TIMEOUT_S, only=name)
    except Transient as error:
        log.warning("%s Whether %s is at work cannot be told, and to start it again would not help.", error, name)
        return None
    return None if answers else f"{name} does not answer over the broker within {_TIMEOUT_S:.0f} s"


@click.command()
@click.argument("process", type=click.Choice(PROCESSES))
@with_settings("host", "port", *BROKER, "database")
def health(settings: Settings, process: str) -> None:
    """Say whether a PROCESS of this machine is at work; exits with 1 if it is to be started again.

    For the health checks of containers and supervisors. A part that is away is no reason to start a process again
    that waits for it.
    """
    fault = fault_of(process, settings)
    click.echo(fault or "ok")
    sys.exit(1 if fault else 0)
