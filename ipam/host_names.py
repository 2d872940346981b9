"""Which names a server answers to.

A page in a browser may give its own name the address of this machine (DNS rebinding), and is then let to read what
comes from here; but its requests say that name in `Host`.
"""

from __future__ import annotations

from collections.abc import Collection

_LOOPBACK = ("localhost", "127.0.0.1", "[::1]")
ANY = "*"


class HostNames:
    """The names of loopback and some more.

    Args:
        names: Those to answer to, besides the names of loopback; `*` stands for any.
    """

    def __init__(self, names: Collection[str]) -> None:
        self._any = ANY in names
        self._names = frozenset((*_LOOPBACK, *map(_normal, names)))

    def __contains__(self, host: str) -> bool:
        """Whether a request for *host*, perhaps with its port, is meant for this server."""
        return self._any or _normal(host) in self._names


def _normal(host: str) -> str:
    """Return *host*, perhaps with its port, in one spelling without it."""
    name = host[: host.find("]") + 1] if host.startswith("[") else host.partition(":")[0]
    return name.lower().rstrip(".")
