"""Refusing what is meant for another host."""

from __future__ import annotations

from collections.abc import Collection

import falcon

from ipam.errors import InvalidParameter
from ipam.util.host_names import HostNames

# A probe calls a process by whatever address it has, and learns nothing but whether it works.
_PROBES = ("/livez", "/readyz")


class AllowedHosts:
    """Middleware: lets in what is meant for this host.

    Args:
        names: Those to answer to, besides the names of loopback; `*` stands for any.
    """

    def __init__(self, names: Collection[str]) -> None:
        self._names = HostNames(names)

    def process_request(self, req: falcon.Request, _resp: falcon.Response) -> None:
        """Let the request in.

        Raises:
            InvalidParameter: If `Host` names another host, or none in HTTP/1.1, which demands it.
        """
        host = req.get_header("Host")
        if host is None:
            if req.env.get("SERVER_PROTOCOL") == "HTTP/1.1":
                raise InvalidParameter("Host: is missing; HTTP/1.1 demands it.")
        elif req.path not in _PROBES and host not in self._names:
            raise InvalidParameter(
                f"Host: {host} is no name of this service; it answers to those of its setting --hosts."
            )
