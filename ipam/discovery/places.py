"""Where a part of the installation is, be it written down or looked up."""

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


class Place(Protocol):
    """Where MongoDB, the broker or the bus is."""

    @property
    def origin(self) -> str:
        """What says so, for people who have to put it right."""

    def find(self) -> str:
        """Its address as its client takes it, with user and password; this may take as long as there is none."""

    def follow(self, moved: Callable[[str], None]) -> None:
        """From now on, call *moved* with its address whenever that is another than the one that was found last."""


@dataclass(frozen=True, slots=True)
class Fixed:
    """A place that a setting names, once and for all."""

    address: str
    origin: str

    def find(self) -> str:
        """As `Place` says."""
        return self.address

    def follow(self, moved: Callable[[str], None]) -> None:
        """It never moves."""


class InFile:
    """A place that a file names, which is read again every two seconds: so a password can be replaced there.

    Args:
        read: Returns what the file has now; raises an `IpamError` if that cannot be used.
        origin: The setting that names the file.
    """

    def __init__(self, read: Callable[[], str], origin: str) -> None:
        self._read = read
        self._known: str | None = None
        self.origin = origin

    def find(self) -> str:
        """As `Place` says."""
        self._known = self._read()
        return self._known

    def follow(self, moved: Callable[[str], None]) -> None:
        """As `Place` says; while the file has nothing that can be used, what it had before stays in use."""
        threading.Thread(target=self._watch, args=(moved,), name=f"follow{self.origin}", daemon=True).start()

    def _watch(self, moved: Callable[[str], None]) -> None:
        said = ""
        while True:
            try:
                address = self._read()
                if address != self._known:
                    if self._known is not None:
                        log.info("the file of %s has changed", self.origin)
                    moved(address)
                    self._known = address
                said = ""
            except IpamError as error:
                if error.detail != said:
                    log.warning("%s; until then, what was there before stays in use", error.detail)
                said = error.detail
            except Exception:  # Were the thread to die, nobody would follow any more.
                log.exception("following the file of %s failed", self.origin)
            time.sleep(_READ_EVERY_S)


def resolved(server: str) -> str:
    """*server*, host[:port], with the addresses that its name stands for."""
    host = server.partition("]")[0].lstrip("[") if server.startswith("[") else server.partition(":")[0]
    try:
        found = sorted({str(entry[4][0]) for entry in socket.getaddrinfo(host, None)})
    except OSError:
        return f"{server} (a name that resolves to nothing)"
    return server if found == [host] else f"{server} ({', '.join(found)})"
