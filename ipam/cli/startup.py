"""Waiting for the database at start, and saying what was tried while it does not answer."""

from __future__ import annotations

import itertools
import logging
import socket
import time

from ipam.errors import Transient
from ipam.models.stores import Stores

log = logging.getLogger(__name__)
_LONGEST_PAUSE_S = 10.0


def prepare_database(stores: Stores) -> list[str]:
    """Create missing indexes, waiting for the database for as long as it takes; returns the names of all."""
    for attempt in itertools.count():
        try:
            return stores.indexes.create()
        except Transient:
            pause = min(2.0**attempt, _LONGEST_PAUSE_S)
            log.warning(
                "MongoDB does not answer; tried %s; check --mongo and that it runs there. Trying again in %.0f s.",
                ", ".join(map(_resolved, stores.whole.servers.split(","))),
                pause,
            )
            time.sleep(pause)
    raise AssertionError


def _resolved(server: str) -> str:
    """*server*, host[:port], with the addresses that its name stands for."""
    host = server.partition("]")[0].lstrip("[") if server.startswith("[") else server.partition(":")[0]
    try:
        found = sorted({str(entry[4][0]) for entry in socket.getaddrinfo(host, None)})
    except OSError:
        return f"{server} (a name that resolves to nothing)"
    return server if found == [host] else f"{server} ({', '.join(found)})"
