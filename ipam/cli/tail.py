"""`ipam events tail`: what happens, as it happens."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from types import FrameType
from typing import Any

import click

from ipam.cli.http_api import ApiUnavailable, get
from ipam.cli.retry_notice import RetryNotice
from ipam.errors import Transient
from ipam.events.subscriber import listen
from ipam.settings import BUS_SCHEMES
from ipam.util.lossless_json import loads
from ipam.util.urls import of_scheme

_WAIT_S = 30
_PAUSE_S = 1.0
Event = dict[str, Any]


def tail_log(url: str, token: str | None, wanted: Mapping[str, Any], show: Callable[[Event], None]) -> None:
    """Show the *wanted* events of the log behind the API at *url*, then each as it comes, for ever.

    The *token* is sent if there is one.

    While the API is away nothing is lost: it goes on where it was.

    Raises:
        click.ClickException: If the API refuses what is asked of it.
    """
    after, notice = wanted["after"], RetryNotice()
    while True:
        try:
            page = get(url, "/events", token, {**wanted, "after": after, "wait": _WAIT_S})
        except ApiUnavailable as error:
            notice.show(str(error))
            time.sleep(_PAUSE_S)
            continue
        notice.clear()
        for event in page["events"]:
            show(event)
        after = page["after"]


def tail_bus(url: str, type_: str | None, show: Callable[[Event], None]) -> None:
    """Show what the bus at *url* is told, until Ctrl-C; what it is told while it is out of reach is not seen."""
    stopped, notice = threading.Event(), RetryNotice()

    def stop(number: int, _frame: FrameType | None) -> None:
        stopped.set()
        signal.signal(number, signal.SIG_DFL)  # A second Ctrl-C does not wait for the bus.

    def hear(body: bytes) -> None:
        try:
            event = loads(body)
            as_line(event)
        except (ValueError, LookupError, TypeError, RecursionError):
            click.echo("ipam: a message on the bus is no event, and is passed over", err=True)
            return
        notice.clear()
        show(event)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    while not stopped.is_set():
        try:
            listen(url, type_, hear, stopped)
        except Transient as error:
            notice.show(error.detail)
            time.sleep(_PAUSE_S)


def check_bus(_context: click.Context, _parameter: click.Parameter, url: str | None) -> str | None:
    """Return the option --bus, if it is one that there can be."""
    try:
        return url and of_scheme(url, BUS_SCHEMES)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


def as_line(event: Event) -> str:
    """Return an event for people."""
    words = [event["time"], event["sequence"], event["type"], event["subject"], *_who(event)]
    return " ".join(words)


def _who(event: Event) -> Iterator[str]:
    if "actor" in event:
        yield f"by {event['actor']}"
