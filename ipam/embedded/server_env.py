"""The environment by which processes of `ipam up` find its servers: their ports, or a Consul agent."""

from __future__ import annotations

from contextlib import ExitStack
from urllib.parse import urlsplit

from ipam.discovery.consul import ConsulAgent
from ipam.discovery.registration import Registration, entry_of_server
from ipam.discovery.service import USUAL_BROKER, Service
from ipam.embedded.processes import LOOPBACK
from ipam.settings import ENVIRONMENT_PREFIX, SERVICE_SCHEMES, Settings

# Where the agent is and what it asks for.
_OF_AGENT = ("consul", "consul_token", "consul_dc", "consul_ca", "consul_cert", "consul_key", "consul_service")


def variables(settings: Settings, mongo: str, broker: str, leaving: ExitStack) -> dict[str, str]:
    """Return the variables that name the two servers, given by their URLs.

    With Consul the servers are registered, until *leaving* is closed, and a name takes the place of host and port.
    """
    if settings.consul is None:
        return {"IPAM_CONSUL": "", "IPAM_MONGO": mongo, "IPAM_BROKER": broker}
    given = {f"{ENVIRONMENT_PREFIX}{name.upper()}": getattr(settings, name) or "" for name in _OF_AGENT}
    mongo_name = Service.parse(settings.consul_mongo, "--consul-mongo", SERVICE_SCHEMES["consul_mongo"]).name
    usual = settings.consul_broker or USUAL_BROKER
    broker_name = Service.parse(usual, "--consul-broker", SERVICE_SCHEMES["consul_broker"]).name
    for variable, url, name in (
        ("IPAM_CONSUL_MONGO", mongo, mongo_name),
        ("IPAM_CONSUL_BROKER", broker, broker_name),
    ):
        port = urlsplit(url).port or 0
        registration = Registration(ConsulAgent(settings), entry_of_server(name, LOOPBACK, port))
        registration.keep()
        leaving.callback(registration.leave)
        given[variable] = url.replace(f"{LOOPBACK}:{port}", name)
    return given
