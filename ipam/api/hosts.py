"""Which names a web process answers to.

A page in a browser may give its own name the address of this machine (DNS rebinding), and is then let to read what
comes from here; but its requests say that name.
"""

from __future__ import annotations

from collections.abc import Collection

import falcon

from ipam.errors import InvalidParameter

_LOOPBACK = ("localhost", "127.0.0.1", "[::1]")
# A probe calls a process by whatever address it has, and learns nothing but whether it works.
_PROBES = ("/livez", "/readyz")
ANY = "*"


class KnownHosts:
    """Middleware: refuses what is meant for another host.

    Args:
        names: Those to answer to, besides the names of loopback; `*` stands for any.
    """

    def __init__(self, names: Collection[str]) -> None:
        self._any = ANY in names
        self._names = frozenset((*_LOOPBACK, *(_normal(name) for name in names)))

    def process_request(self, req: falcon.Request, _resp: falcon.Response) -> None:
        """Let the request in.

        Raises:
            InvalidParameter: If `Host` names another host, or none in HTTP/1.1, which demands it.
        """
        host = req.get_header("Host")
        if host is None:
            if req.env.get("SERVER_PROTOCOL") == "HTTP/1.1":
                raise InvalidParameter("Host: is missing; HTTP/1.1 demands it.")
        elif not (self._any or req.path in _PROBES or _normal(host) in self._names):
            raise InvalidParameter(
                f"Host: {host} is no name of this service; it answers to those of its setting --hosts."
            )


def _normal(host: str) -> str:
    """*host*, perhaps with its port, in one spelling without it."""
    name = host[: host.find("]") + 1] if host.startswith("[") else host.partition(":")[0]
    return name.lower().rstrip(".")
