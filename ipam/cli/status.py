"""`ipam status`: the state of an installation on one screen."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import IO, Any

import click

from ipam.cli.http_api import ApiUnavailable, get
from ipam.util.lossless_json import dumps
from ipam.util.printable import printable

# Pools that are read, and those of them that are shown.
_POOLS_READ = 1000
_POOLS_SHOWN = 10
_DEGRADED, _UNAVAILABLE = 1, 2


@click.command()
@click.option("--url", metavar="URL", default="http://127.0.0.1:8000", show_default=True, help="Where the API is.")
@click.option("--token-file", metavar="FILE", type=click.File(), help="File that holds the token for the API.")
@click.option("--json", "as_json", is_flag=True, help="Print the same as JSON.")
def status(url: str, token_file: IO[str] | None, *, as_json: bool) -> None:
    """Print the state of all parts and the fullest pools.

    Exits with 0 if everything is ok, with 1 if something is not, and with 2 if the API does not answer.
    """
    token = token_file.read().strip() if token_file is not None else None
    try:
        report = get(url, "/status", token, {})
        pools = get(url, "/pools", token, {"limit": _POOLS_READ})["pools"]
    except ApiUnavailable as error:
        click.echo(f"ipam: {printable(str(error))}", err=True)
        sys.exit(_UNAVAILABLE)
    fullest = sorted(pools, key=_fill, reverse=True)[:_POOLS_SHOWN]
    if as_json:
        click.echo(dumps({**report, "pools": fullest}))
    else:
        for line in _lines(url, report, fullest):
            click.echo(printable(line))
    sys.exit(0 if report["status"] == "ok" else _DEGRADED)


def _lines(url: str, report: dict[str, Any], pools: list[dict[str, Any]]) -> Iterator[str]:
    yield f"ipam {report['version']} at {url}: {report['status']}"
    for name, state in report["parts"].items():
        yield f"  {name:10} {state['status']:9} {_told(state)}".rstrip()
    for hook in report["hooks"]:
        yield f"  hook       {hook['name']}: no answer {hook['unanswered']} times"
    for pool in pools:
        share = f"{100 * _fill(pool):.1f}"
        yield f"  pool       {share:>5} % {pool['used']} of {pool['size']} {pool['id']} {pool['name']}".rstrip()


def _told(state: dict[str, Any]) -> str:
    """Return what *state* says besides its status: what to do about it, or its figures."""
    if "detail" in state:
        return str(state["detail"])
    figures = {name: value for name, value in state.items() if name != "status"}
    return ", ".join(
        f"{name} {' '.join(value) if isinstance(value, list) else value}" for name, value in figures.items()
    )


def _fill(pool: dict[str, Any]) -> float:
    return float(pool["used"] / pool["size"]) if pool["size"] else 0.0
