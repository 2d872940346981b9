"""Finding MongoDB by a Consul agent."""

from __future__ import annotations

import consul
import requests

from ipam.errors import InvalidSettings, Transient

_DEFAULT_PORT = 8500


def mongo_servers(agent: str, service: str) -> str:
    """The healthy instances of *service* that the agent at *agent* (host[:port]) knows, as host:port,host:port.

    Raises:
        InvalidSettings: If *agent* is not of that form.
        Transient: If the agent does not answer, or knows no healthy instance.
    """
    host, colon, port = agent.partition(":")
    if not host or (colon and not port.isdigit()):
        raise InvalidSettings(f"--consul={agent!r}: must be host or host:port")
    try:
        client = consul.Consul(host=host, port=int(port) if port else _DEFAULT_PORT)
        _, entries = client.health.service(service, passing=True)
    except (consul.ConsulException, requests.RequestException) as error:
        message = f"The Consul agent at {agent} did not answer ({type(error).__name__}); check --consul."
        raise Transient(message) from error
    servers = sorted(
        f"{entry['Service']['Address'] or entry['Node']['Address']}:{entry['Service']['Port']}" for entry in entries
    )
    if not servers:
        message = f"Consul at {agent} knows no healthy service {service!r}; check --consul-mongo and its health."
        raise Transient(message)
    return ",".join(servers)
