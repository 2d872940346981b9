"""Waiting for the database at start, and saying what was tried while it does not answer."""

from __future__ import annotations

import logging

from ipam.discovery.endpoints import resolved
from ipam.errors import AccessDenied, Transient
from ipam.storage.stores import Stores
from ipam.util.retry import retry_until_available

log = logging.getLogger(__name__)
# A call to the database of a worker or relay: no caller waits for it, and large reservations take their time.
BACKGROUND_TIMEOUT_S = 60.0


def prepare_database(stores: Stores) -> list[str]:
    """Wait for the database, however long it takes; create the indexes that are missing and return all their names.

    Raises:
        InvalidSettings: If it was written by another version.
    """
    tried = ", ".join(map(resolved, stores.whole.servers.split(",")))

    def explain(error: Transient, pause_s: float) -> None:
        again = f"Trying again in {pause_s:.0f} s."
        if isinstance(error, AccessDenied):
            log.warning(
                "MongoDB does not let ipam in (%s); tried %s; check the user and the password. %s",
                error.said,
                tried,
                again,
            )
        else:
            source = stores.whole.source
            log.warning(
                "MongoDB does not answer; tried %s; check %s and that it runs there. %s", tried, source, again
            )

    def prepare() -> list[str]:
        stores.whole.ping()  # What follows may take its time, and so would not soon tell an outage.
        stores.schema.check()
        return stores.indexes.create()

    return retry_until_available(prepare, explain)
