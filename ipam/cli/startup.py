"""Waiting for the database at start, and saying what was tried while it does not answer."""

from __future__ import annotations

import logging
import socket

from ipam.models.stores import Stores
from ipam.retrying import wait_out

log = logging.getLogger(__name__)


def prepare_database(stores: Stores) -> list[str]:
    """Bring the database to today's form, waiting for it for as long as it takes; returns what there is to say.

    That is what was brought over from an older version, and the names of all indexes, which are created if missing.
    """
    tried = ", ".join(map(_resolved, stores.whole.servers.split(",")))

    def explain(pause_s: float) -> None:
        log.warning(
            "MongoDB does not answer; tried %s; check --mongo and that it runs there. Trying again in %.0f s.",
            tried,
            pause_s,
        )

    def prepare() -> list[str]:
        # The old form is known by an index that today's has not; the index is dropped last.
        upgraded = stores.upgrade.run()
        for line in upgraded:
            log.info("the database was %s", line)
        return [*upgraded, *stores.indexes.create()]

    return wait_out(prepare, explain)


def _resolved(server: str) -> str:
    """*server*, host[:port], with the addresses that its name stands for."""
    host = server.partition("]")[0].lstrip("[") if server.startswith("[") else server.partition(":")[0]
    try:
        found = sorted({str(entry[4][0]) for entry in socket.getaddrinfo(host, None)})
    except OSError:
        return f"{server} (a name that resolves to nothing)"
    return server if found == [host] else f"{server} ({', '.join(found)})"
