"""A service in Consul: what is asked for, and the address that its instances make."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from urllib.parse import parse_qsl, quote, urlencode

from ipam.errors import Transient
from ipam.settings import SERVICE
from ipam.util.urls import in_url

# The broker's service, if nothing else is said: a Redis, as it is without Consul.
USUAL_BROKER = "redis"
# How clients are given several servers, by scheme; the others take whole URLs, separated by semicolons.
_IN_ONE_URL = ("mongodb",)
_BY_COMMA = ("nats", "tls")
# Options that the tags of an instance may have: nothing of authentication, and nothing of TLS.
_OPTIONS_OF_TAGS = frozenset(
    {
        *("replicaSet", "directConnection", "retryWrites", "retryReads", "w", "wtimeoutMS", "readConcernLevel"),
        *("heartbeat", "visibility_timeout", "health_check_interval"),
    }
)
_LABEL = "[A-Za-z0-9_](?:[A-Za-z0-9_-]*[A-Za-z0-9_])?"
_HOST_NAME = re.compile(rf"(?=.{{1,253}}$){_LABEL}(?:\.{_LABEL})*\.?")
_PATH = re.compile(r"/?([A-Za-z0-9._~-]|%[0-9A-Fa-f]{2}|/)*")
_LAST_PORT = 65535
# What is spoken by services that have their usual names.
_USUAL_SCHEMES = {"redis": "redis", "rabbitmq": "amqp", "nats": "nats"}


@dataclass(frozen=True, slots=True)
class Instance:
    """A healthy instance of a service; *tags* are those of the form key=value."""

    host: str
    port: int
    tags: Mapping[str, str]

    @property
    def server(self) -> str:
        """The server as host:port."""
        return f"{in_url(self.host)}:{self.port}"


@dataclass(frozen=True, slots=True)
class Service:
    """A service that is looked for.

    What is not said here the tags of its instances may say: `scheme=`, `user=`, `password=`, `path=`, `options=`.
    Anyone who may register a service in Consul can write these, so what could lead elsewhere is refused.

    Attributes:
        credentials: `user:password`, as they stand in a URL.
        path: What follows the servers in a URL, with its slash.
        options: What follows the question mark.
        flag: Where all this was given.
        schemes: Those that it may have.
    """

    name: str
    scheme: str
    credentials: str
    path: str
    options: str
    flag: str
    schemes: Sequence[str]

    @classmethod
    def parse(cls, text: str, flag: str, schemes: Sequence[str]) -> Service:
        """Return the service that *text* names: its name, or a URL with that in the place of servers.

        *flag* is where *text* was given; *schemes* are those that it may have: if that is one, it need not be said.
        """
        found = SERVICE.fullmatch(text)
        if found is None:  # `Settings` lets nothing else through.
            raise ValueError(text)
        part = {name: value or "" for name, value in found.groupdict().items()}
        scheme = part["scheme"] or (schemes[0] if len(schemes) == 1 else "")
        return cls(part["name"], scheme, part["credentials"], part["path"], part["options"], flag, schemes)

    def refusal(self, instance: Instance) -> str | None:
        """Return why *instance* is not to be used, with what is registered of it; None if it may be."""
        tags = instance.tags
        if not _is_host(instance.host):
            return f"its address {instance.host!r} is neither a host name nor an IP address"
        if not (isinstance(instance.port, int) and 0 < instance.port <= _LAST_PORT):
            return f"its port {instance.port!r} is no number from 1 to {_LAST_PORT}"
        if tags.get("scheme", "") not in ("", *self.schemes):
            return f"its tag scheme={tags['scheme']!r} is none of {', '.join(self.schemes)}"
        if not _PATH.fullmatch(tags.get("path", "")):
            return f"its tag path={tags['path']!r} is no path"
        others = [name for name, _ in parse_qsl(tags.get("options", ""), keep_blank_values=True)]
        if unknown := sorted(set(others) - _OPTIONS_OF_TAGS):
            return f"its tag options= has {', '.join(map(repr, unknown))}, which only {self.flag} may say"
        return None

    def address(self, instances: Sequence[Instance]) -> str:
        """Return what the client of the service is given to reach *instances*, at least one.

        Raises:
            Transient: If nothing says which scheme it has.
        """
        tags = {name: value for instance in reversed(instances) for name, value in instance.tags.items()}
        scheme = self.scheme or tags.get("scheme") or _USUAL_SCHEMES.get(self.name, "")
        if not scheme:
            message = (
                f"Nothing says how to speak to the service {self.name!r}: give {self.flag} a URL with that name in "
                f"it, such as amqp://{self.name}, or the service a tag such as scheme=amqp."
            )
            raise Transient(message)
        credentials = self.credentials or ":".join(
            quote(tags[one], "") for one in ("user", "password") if one in tags
        )
        before = f"{scheme}://{credentials}@" if credentials else f"{scheme}://"
        path = self.path or "/" + tags.get("path", "").removeprefix("/")
        options = self.options or urlencode(parse_qsl(tags.get("options", ""), keep_blank_values=True))
        after = f"{path}?{options}" if options else path
        servers = [instance.server for instance in instances]
        if scheme in _IN_ONE_URL:
            return before + ",".join(servers) + after
        return ("," if scheme in _BY_COMMA else ";").join(before + server + after for server in servers)


def _is_host(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return _HOST_NAME.fullmatch(text) is not None
    return "%" not in text  # A zone is of the machine that registered it.
