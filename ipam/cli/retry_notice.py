"""Saying on a terminal that something is tried again."""

from __future__ import annotations

import click

from ipam.util.printable import printable


class RetryNotice:
    """Prints why something is tried again, a line each time the reason changes."""

    def __init__(self) -> None:
        self._reason = ""

    def show(self, reason: str) -> None:
        """Print *reason*, unless it was printed last and nothing has worked since."""
        if reason != self._reason:
            self._reason = reason
            click.echo(f"ipam: {printable(reason)} It is tried again each second.", err=True)

    def clear(self) -> None:
        """Note that it works."""
        self._reason = ""
