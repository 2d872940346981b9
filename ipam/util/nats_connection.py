"""Connecting to NATS."""

from __future__ import annotations

import logging
from urllib.parse import urlsplit

import nats
from nats.aio.client import Client

log = logging.getLogger(__name__)


def is_nats(url: str) -> bool:
    """Return whether *url* is of a NATS server."""
    return urlsplit(url).scheme in ("nats", "tls")


async def connect_once(url: str, timeout_s: float) -> Client:
    """Connect to one of the servers in *url*, which commas separate, within *timeout_s* seconds each.

    It tries each server again at once and then gives up, and does not connect again when the connection is lost:
    its user notices, logs a line of its own, and connects again.

    Raises:
        nats.errors.Error: If none of them answers.
        OSError: As that.
    """
    return await nats.connect(
        url.split(","),
        connect_timeout=int(timeout_s),
        allow_reconnect=False,
        max_reconnect_attempts=1,
        reconnect_time_wait=0,
        error_cb=_note,
    )


async def _note(error: Exception) -> None:
    """Keep quiet about *error*, which is raised where it matters; nats-py would print a traceback for each."""
    log.debug("NATS: %s: %s", type(error).__name__, error)
