"""`ipam init-db`: prepares the database."""

from __future__ import annotations

import click

from ipam.cli.database_startup import prepare_database
from ipam.cli.options import DATABASE, with_settings
from ipam.settings import Settings
from ipam.wiring import open_stores


@click.command("init-db")
@with_settings(*DATABASE, "mongo_timeout_s")
def init_db(settings: Settings) -> None:
    """Create missing indexes and refuse a database of another version, as other commands do at their start."""
    for name in prepare_database(open_stores(settings, settings.mongo_timeout_s, follow=False)):
        click.echo(name)
