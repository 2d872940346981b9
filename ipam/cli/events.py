"""`ipam events`: the audit log, or a bus, on a terminal."""

from __future__ import annotations

from contextlib import suppress
from typing import IO, Any

import click

from ipam.cli.tail import as_line, check_bus, tail_bus, tail_log
from ipam.util.lossless_json import dumps
from ipam.util.printable import printable


@click.group()
def events() -> None:
    """Show events, from the audit log or from a bus."""


@events.command("tail")
@click.option("--url", metavar="URL", default="http://127.0.0.1:8000", show_default=True, help="Where the API is.")
@click.option("--type", "type_", metavar="TYPE", help="Only these, such as ipam.pool.created or ipam.subnet.*.")
@click.option("--subject", metavar="PATH", help="Only a resource and what is in it, such as /subnets/<id>.")
@click.option("--actor", metavar="NAME", help="Only what this one asked for.")
@click.option("--after", metavar="SEQUENCE", help="Begin behind this event, 0 for all.  [default: from now on]")
@click.option("--bus", metavar="URL", callback=check_bus, help="Listen to this bus and not to the log.")
@click.option("--token-file", metavar="FILE", type=click.File(), help="File that holds the token for the API.")
@click.option("--json", "as_json", is_flag=True, help="Print events whole, each as a line of JSON.")
def events_tail(  # noqa: PLR0913 (an option each)
    *,
    url: str,
    type_: str | None,
    subject: str | None,
    actor: str | None,
    after: str | None,
    bus: str | None,
    token_file: IO[str] | None,
    as_json: bool,
) -> None:
    """Print events as they happen, until Ctrl-C.

    From the audit log: nothing is missed while the API is away. Or from a bus: then only --type can be chosen, and
    what happens while the bus is away is missed.
    """

    def show(event: dict[str, Any]) -> None:
        click.echo(printable(dumps(event) if as_json else as_line(event)))

    if bus is not None and (subject or actor or after or token_file):
        raise click.UsageError(
            "--subject, --actor, --after and --token-file are for the log; leave them out with --bus."
        )
    if bus is not None:
        tail_bus(bus, type_, show)
        return
    with suppress(KeyboardInterrupt):
        wanted = {"after": after or "latest", "type": type_, "subject": subject, "actor": actor}
        token = token_file.read().strip() if token_file is not None else None
        tail_log(url, token, {name: value for name, value in wanted.items() if value is not None}, show)
