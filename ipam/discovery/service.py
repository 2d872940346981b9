"""A service in Consul: what is asked for, and the address that its instances make."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import quote

from ipam.errors import Transient
from ipam.settings import SERVICE, in_url

# The broker's service, if nothing else is said: a Redis, as it is without Consul.
USUAL_BROKER = "redis"
# How clients are given several servers, by scheme; the others take whole URLs, separated by semicolons.
_IN_ONE_URL = ("mongodb",)
_BY_COMMA = ("nats", "tls")
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
        """As host:port."""
        return f"{in_url(self.host)}:{self.port}"


@dataclass(frozen=True, slots=True)
class Service:
    """A service that is looked for.

    What is not said here the tags of its instances may say: `scheme=`, `user=`, `password=`, `path=`, `options=`.

    Attributes:
        credentials: `user:password`, as they stand in a URL.
        path: What follows the servers in a URL, with its slash.
        options: What follows the question mark.
        flag: Where all this was given.
    """

    name: str
    scheme: str
    credentials: str
    path: str
    options: str
    flag: str

    @classmethod
    def parse(cls, text: str, flag: str, scheme: str = "") -> Service:
        """The service that *text* names: its name, or a URL with that in the place of servers.

        *flag* is where *text* was given; *scheme* that of its URL if *text* says none.
        """
        found = SERVICE.fullmatch(text)
        if found is None:  # `Settings` lets nothing else through.
            raise ValueError(text)
        part = {name: value or "" for name, value in found.groupdict().items()}
        return cls(part["name"], part["scheme"] or scheme, part["credentials"], part["path"], part["options"], flag)

    def address(self, instances: Sequence[Instance]) -> str:
        """What the client of the service is given to reach *instances*, at least one.

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
        options = self.options or tags.get("options", "")
        after = f"{path}?{options}" if options else path
        servers = [instance.server for instance in instances]
        if scheme in _IN_ONE_URL:
            return before + ",".join(servers) + after
        return ("," if scheme in _BY_COMMA else ";").join(before + server + after for server in servers)
