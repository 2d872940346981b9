"""`ipam relay`: moves events to the log and to the bus."""

from __future__ import annotations

import signal
import threading

import click

from ipam.cli.database_startup import BACKGROUND_TIMEOUT_S, prepare_database
from ipam.cli.options import BUS, DATABASE, with_settings
from ipam.settings import Settings
from ipam.util.gc_tuning import freeze_gc
from ipam.wiring import build_relay, open_stores


@click.command()
@with_settings(*DATABASE, *BUS, "events_keep_days")
def relay(settings: Settings) -> None:
    """Write what happened to the audit log, and tell the bus, in order; of several one is at work."""
    stores = open_stores(settings, BACKGROUND_TIMEOUT_S)
    prepare_database(stores)
    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())
    running = build_relay(stores, settings)
    freeze_gc()
    running.run(stopped)
    stores.whole.close()
