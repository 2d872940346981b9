"""The host names that a server answers to, against DNS rebinding.

A page in a browser may give its own name the address of this machine; the browser then lets it read the answers
from here. But its requests have that name in `Host`.
"""

from __future__ import annotations

from collections.abc import Collection

_LOOPBACK = ("localhost", "127.0.0.1", "[::1]")
ANY = "*"


class HostNames:
    """The names of loopback, and more.

    Args:
        names: The names to answer to besides those of loopback; `*` stands for any.
    """

    def __init__(self, names: Collection[str]) -> None:
        self._any = ANY in names
        self._names = frozenset((*_LOOPBACK, *map(_normal, names)))

    def __contains__(self, host: str) -> bool:
        """Return whether a request whose `Host` is *host*, perhaps with a port, is to be answered."""
        return self._any or _normal(host) in self._names


def _normal(host: str) -> str:
    """Return *host* without its port, in lower case and without a final dot."""
    name = host[: host.find("]") + 1] if host.startswith("[") else host.partition(":")[0]
    return name.lower().rstrip(".")
