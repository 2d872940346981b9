"""Where a part of the installation is, be it written down or looked up."""

from __future__ import annotations

import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol


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


def resolved(server: str) -> str:
    """*server*, host[:port], with the addresses that its name stands for."""
    host = server.partition("]")[0].lstrip("[") if server.startswith("[") else server.partition(":")[0]
    try:
        found = sorted({str(entry[4][0]) for entry in socket.getaddrinfo(host, None)})
    except OSError:
        return f"{server} (a name that resolves to nothing)"
    return server if found == [host] else f"{server} ({', '.join(found)})"
