"""`ipam`: a command for each process, with settings by flag or IPAM_* variable."""

from __future__ import annotations

import sys

import click

from ipam import __version__
from ipam.cli.beat import beat
from ipam.cli.events import events
from ipam.cli.flower import flower
from ipam.cli.health import health
from ipam.cli.hooks import hook
from ipam.cli.init_db import init_db
from ipam.cli.relay import relay
from ipam.cli.serve import serve
from ipam.cli.status import status
from ipam.cli.token import token
from ipam.cli.up import up
from ipam.cli.worker import worker
from ipam.errors import InvalidSettings, Transient
from ipam.events.compression import refuse_compressed


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="ipam")
def cli() -> None:
    """Reserve IP addresses: pools hold subnets, reservations take addresses from them.

    To try it: `ipam up` starts everything in one go. In production run `serve`, `worker`, `beat`, `relay` and, to
    watch them, `flower`, against your own MongoDB and RabbitMQ or Redis.
    """
    refuse_compressed()


for command in (serve, worker, beat, relay, flower, health, status, events, hook, token, init_db, up):
    cli.add_command(command)


def main() -> None:
    """Run the command; what its caller can put right is said in a line and not in a traceback."""
    try:
        cli()
    except (InvalidSettings, Transient) as error:
        for line in error.detail.splitlines():
            click.echo(f"ipam: {line}", err=True)
        sys.exit(2 if isinstance(error, InvalidSettings) else 1)
