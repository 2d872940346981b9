"""`ipam beat`: Celery's scheduler, for recovery."""

from __future__ import annotations

import click

from ipam.cli.options import BROKER, with_settings
from ipam.settings import Settings
from ipam.wiring import broker_endpoint
from ipam.workers.celery_app import create_failover_celery


@click.command()
@with_settings(*BROKER, "database", "recovery_interval_s")
def beat(settings: Settings) -> None:
    """Look for what lost messages and killed workers left behind (Celery beat); one is enough."""
    app = create_failover_celery(settings, broker_endpoint(settings))
    app.start(["beat", f"--loglevel={settings.log_level}", "--pidfile="])
