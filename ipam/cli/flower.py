"""`ipam flower`: workers and tasks in a browser."""

from __future__ import annotations

import click

from ipam.cli.options import BROKER, with_settings
from ipam.settings import Settings
from ipam.wiring import broker_endpoint
from ipam.workers.celery_app import create_failover_celery


@click.command()
@with_settings(*BROKER, "database", "flower_address", "flower_port", "hosts", "insecure")
def flower(settings: Settings) -> None:
    """Show workers and tasks in a browser (Flower)."""
    settings.refuse_open("flower_address")
    from ipam.workers.flower_server import run_flower  # noqa: PLC0415 (only this command needs what it loads)

    run_flower(create_failover_celery(settings, broker_endpoint(settings)), settings)
