"""How the processes of `ipam up` find its servers: by their ports, or by a Consul agent that is there."""

from __future__ import annotations

from contextlib import ExitStack

from ipam.discovery.consul import Agent
from ipam.discovery.registration import Registration, entry_of_server
from ipam.discovery.service import USUAL_BROKER, Service
from ipam.embedded.parts import LOOPBACK, Part
from ipam.settings import ENVIRONMENT_PREFIX, Settings

# Where the agent is and what it asks for.
_OF_AGENT = ("consul", "consul_token", "consul_dc", "consul_ca", "consul_cert", "consul_key", "consul_service")


def variables(
    settings: Settings, database: tuple[Part, str], redis: tuple[Part, str], leaving: ExitStack
) -> dict[str, str]:
    """The variables that name the two servers, each given with its URL.

    With Consul the servers are registered, until *leaving* is closed, and a name takes the place of host and port.
    """
    (mongo_part, mongo), (redis_part, broker) = database, redis
    if settings.consul is None:
        return {"IPAM_CONSUL": "", "IPAM_MONGO": mongo, "IPAM_BROKER": broker}
    mongo_name = Service.parse(settings.consul_mongo, "--consul-mongo").name
    broker_name = Service.parse(settings.consul_broker or USUAL_BROKER, "--consul-broker").name
    for part, name in ((mongo_part, mongo_name), (redis_part, broker_name)):
        registration = Registration(Agent(settings), entry_of_server(name, LOOPBACK, part.port or 0))
        registration.keep()
        leaving.callback(registration.leave)
    given = {f"{ENVIRONMENT_PREFIX}{name.upper()}": getattr(settings, name) or "" for name in _OF_AGENT}
    return {
        **given,
        "IPAM_CONSUL_MONGO": mongo.replace(f"{LOOPBACK}:{mongo_part.port}", mongo_name),
        "IPAM_CONSUL_BROKER": broker.replace(f"{LOOPBACK}:{redis_part.port}", broker_name),
    }
