"""Endpoints of MongoDB, the broker and the bus: fixed by a setting, or in a file that is read again."""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from ipam.errors import IpamError

log = logging.getLogger(__name__)
_READ_EVERY_S = 2.0


class Endpoint(Protocol):
    """Where MongoDB, the broker or the bus is."""

    @property
    def source(self) -> str:
        """The setting, file or service that says where, for error messages."""

    def find(self) -> str:
        """Return the address as clients take it, with user and password; wait until there is one."""

    def follow(self, moved: Callable[[str], None]) -> None:
        """Call *moved*, in another thread, with each new address from now on."""


@dataclass(frozen=True, slots=True)
class StaticEndpoint:
    """An endpoint that a setting fixes."""

    address: str
    source: str

    def find(self) -> str:
        """Implement `Endpoint`."""
        return self.address

    def follow(self, moved: Callable[[str], None]) -> None:
        """Do nothing: the address never changes."""


class FileEndpoint:
    """An endpoint in a file that is read again every two seconds, so that a password can be replaced there.

    Args:
        read: Returns what the file has now; raises an `IpamError` if that cannot be used.
        source: The setting that names the file.
    """

    def __init__(self, read: Callable[[], str], source: str) -> None:
        self._read = read
        self._known: str | None = None
        self.source = source

    def find(self) -> str:
        """Implement `Endpoint`."""
        self._known = self._read()
        return self._known

    def follow(self, moved: Callable[[str], None]) -> None:
        """Implement `Endpoint`; while the file holds no usable address, the former one stays in use."""
        threading.Thread(target=self._watch, args=(moved,), name=f"follow{self.source}", daemon=True).start()

    def _watch(self, moved: Callable[[str], None]) -> None:
        said = ""
        while True:
            try:
                address = self._read()
                if address != self._known:
                    if self._known is not None:
                        log.info("the file of %s has changed", self.source)
                    moved(address)
                    self._known = address
                said = ""
            except IpamError as error:
                if error.detail != said:
                    log.warning("%s; until then, what was there before stays in use", error.detail)
                said = error.detail
            except Exception:  # If the thread died, changes would not be followed any more.
                log.exception("following the file of %s failed", self.source)
            time.sleep(_READ_EVERY_S)


def resolved(server: str) -> str:
    """Return *server*, host[:port], with the addresses that its name stands for."""
    host = server.partition("]")[0].lstrip("[") if server.startswith("[") else server.partition(":")[0]
    try:
        found = sorted({str(entry[4][0]) for entry in socket.getaddrinfo(host, None)})
    except OSError:
        return f"{server} (a name that resolves to nothing)"
    return server if found == [host] else f"{server} ({', '.join(found)})"
