"""Everything that can be set, read once at start; all faults are reported together."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator

from ipam.errors import InvalidSettings
from ipam.util.urls import in_url, of_scheme, port_of, without_password

ENVIRONMENT_PREFIX = "IPAM_"
BUS_SCHEMES = ("amqp", "amqps", "redis", "rediss", "nats", "tls")
BROKER_SCHEMES = ("redis", "rediss", "amqp", "amqps")
# What a service may speak, by the setting that names it.
SERVICE_SCHEMES = {"consul_mongo": ("mongodb",), "consul_broker": BROKER_SCHEMES, "consul_bus": BUS_SCHEMES}


# A service in Consul: its name, or a URL with that in the place of servers.
SERVICE = re.compile(
    r"(?:(?P<scheme>[a-z]+)://(?:(?P<credentials>[^/?]*)@)?)?(?P<name>[A-Za-z0-9._-]+)"
    r"(?P<path>/[^?]*)?(?:\?(?P<options>.*))?"
)
_FILE = "_file"
# What else makes an address safe to listen on, by the setting that names it; Flower knows no tokens.
_REMEDY = {"host": "--auth token, or "}


class Settings(BaseModel):
    """Frozen settings; a name ends in its unit where it has one.

    A field's description is also the help text of its flag, so it speaks to a stranger.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: str = Field("127.0.0.1", description="Address that the HTTP API listens on.")
    port: int = Field(8000, ge=0, le=65535, description="Port of the HTTP API; 0 picks a free one.")
    hosts: str = Field(
        "",
        description="Names, separated by commas, that the HTTP API answers to besides localhost and --host, as "
        "requests have them in Host; * for any.",
    )
    auth: Literal["none", "token"] = Field(
        "none",
        description="token: each request needs one, made by `ipam token create`. none: anyone may do everything.",
    )
    trusted_proxies: str = Field(
        "",
        description="Proxies, addresses or CIDRs separated by commas, that say in X-Forwarded-For where a request "
        "comes from.",
    )
    insecure: bool = Field(
        False,  # noqa: FBT003 (as all of them)
        description="Listen on other than loopback addresses without --auth token: anyone can do everything there.",
    )
    processes: int = Field(
        1, ge=1, le=64, description="Web processes that share the port; each uses one core at most."
    )
    any_core: bool = Field(
        False,  # noqa: FBT003 (as all of them)
        description="Let web processes go from core to core; each stays on one otherwise, which makes it faster.",
    )
    threads: int = Field(
        128, ge=8, le=1024, description="Request threads of a web process; five in eight may wait for a job."
    )
    stop_timeout_s: float = Field(
        8.0, ge=0, le=600, description="How long a web process that is to stop goes on with requests it has begun."
    )
    open_metrics: bool = Field(
        False,  # noqa: FBT003 (as all of them)
        description="Show /metrics without a token, with --auth token too.",
    )
    metrics_pools: int = Field(
        100, ge=0, le=10_000, description="How many pools /metrics tells of, the oldest first; once a minute."
    )
    mongo: str = Field(
        "127.0.0.1:27017",
        min_length=1,
        description="MongoDB: host[:port], several separated by commas, or a mongodb:// URI. "
        "Ignored when --consul is given.",
    )
    mongo_file: str | None = Field(None, description="File that holds what --mongo would say, with its password.")
    database: str = Field(
        "ipam", pattern=r"^[A-Za-z0-9_-]{1,38}$", description="Name of the MongoDB database that holds everything."
    )
    mongo_timeout_s: float = Field(
        4.0, gt=0, le=600, description="Longest time that one MongoDB call of a web process may take."
    )
    consul: str | None = Field(
        None,
        description="A Consul agent, host[:port] or an http:// or https:// URL of it: MongoDB is found there, and "
        "the HTTP API registered.",
    )
    consul_token: str | None = Field(None, description="Token for Consul; better in a file.")
    consul_token_file: str | None = Field(None, description="File that holds the token for Consul.")
    consul_dc: str | None = Field(None, description="Datacenter that is looked in, if not the agent's own.")
    consul_ca: str | None = Field(None, description="File of the certificates by which an https:// agent is known.")
    consul_cert: str | None = Field(None, description="File of the certificate that an https:// agent asks for.")
    consul_key: str | None = Field(None, description="File of the key to that certificate.")
    consul_mongo: str = Field(
        "mongodb",
        description="MongoDB's service in Consul: its name, or a mongodb:// URI with that in the place of servers.",
    )
    consul_mongo_file: str | None = Field(None, description="File that holds what --consul-mongo would say.")
    consul_broker: str | None = Field(
        None,
        description="The broker's service in Consul: its name, or a redis:// or amqp:// URL with that in the place "
        "of a server; redis if --broker is not given either.",
    )
    consul_broker_file: str | None = Field(None, description="File that holds what --consul-broker would say.")
    consul_bus: str | None = Field(
        None, description="Likewise the bus's service, by a URL as --bus has it; --bus is then ignored."
    )
    consul_bus_file: str | None = Field(None, description="File that holds what --consul-bus would say.")
    consul_service: str = Field(
        "ipam", pattern=r"^[A-Za-z0-9-]{1,63}$", description="Name that the HTTP API is registered under."
    )
    consul_address: str | None = Field(
        None, description="Address that others find the HTTP API at, if it is not that of --host."
    )
    consul_tags: str = Field("", description="Tags of the HTTP API in Consul, separated by commas.")
    consul_remove_after_s: int = Field(
        60, ge=60, le=604800, description="How long an HTTP API that cannot do its work stays in Consul."
    )
    broker: str = Field(
        "redis://127.0.0.1:6379/0", description="Celery's broker: a redis:// or amqp:// (RabbitMQ) URL."
    )
    broker_file: str | None = Field(None, description="File that holds what --broker would say.")
    bus: str | None = Field(
        None,
        description="Where events go out: an amqp:// (RabbitMQ), redis:// or nats:// URL; amqps://, rediss:// and "
        "tls:// are the same over TLS.",
    )
    bus_file: str | None = Field(None, description="File that holds what --bus would say.")
    hooks: str | None = Field(
        None,
        description="TOML file that declares hooks: consumers on the bus that are asked before changes are made. "
        "Needs --bus, RabbitMQ or NATS.",
    )
    events_keep_days: int | None = Field(
        None, ge=1, le=36500, description="How long events stay in the audit log; for ever if not given."
    )
    concurrency: int = Field(2, ge=1, le=256, description="Processes of a worker.")
    remote_control: bool = Field(
        False,  # noqa: FBT003 (as all of them)
        description="Let Celery's remote control change and end workers, for anyone with access to the broker.",
    )
    claim_timeout_s: float = Field(
        30.0,
        ge=1,
        le=3600,
        description="A job whose worker has been silent for this long is given to another; "
        "must be longer than the slowest batch.",
    )
    recovery_interval_s: float = Field(
        2.0, ge=0.2, le=3600, description="How often beat looks for jobs whose message or worker was lost."
    )
    flower_address: str = Field("127.0.0.1", description="Address that Flower listens on.")
    flower_port: int = Field(5555, ge=1, le=65535, description="Port of Flower.")
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="debug, info, warning or error."
    )

    @field_validator("broker")
    @classmethod
    def _broker_is_one_that_celery_can_use(cls, value: str) -> str:
        return of_scheme(value, BROKER_SCHEMES)

    @field_validator("bus")
    @classmethod
    def _bus_is_one_that_there_is(cls, value: str | None) -> str | None:
        return value and of_scheme(value, BUS_SCHEMES)

    @field_validator("consul")
    @classmethod
    def _consul_is_an_agent(cls, value: str | None) -> str | None:
        if value is not None:
            url = urlsplit(_url_of_agent(value))
            is_agent = url.scheme in ("http", "https") and url.hostname and url.path in ("", "/") and not url.query
            if not is_agent or "@" in url.netloc:
                message = "must be host, host:port or a URL such as https://host:8501"
                raise ValueError(message)
            port_of(url.geturl())
        return value

    @field_validator("consul_ca", "consul_cert", "consul_key")
    @classmethod
    def _is_a_file(cls, value: str | None) -> str | None:
        if value is not None and not os.access(value, os.R_OK):
            message = "there is no such file that can be read"
            raise ValueError(message)
        return value

    @field_validator("consul_mongo", "consul_broker", "consul_bus")
    @classmethod
    def _is_a_service(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is None:
            return None
        schemes = SERVICE_SCHEMES[str(info.field_name)]
        found = SERVICE.fullmatch(value)
        if found is None or found["scheme"] not in (None, *schemes):
            allowed = " or ".join(f"{scheme}://" for scheme in schemes)
            message = (
                f"must be the name of a service, or a URL that begins with {allowed} and has that name and no port"
            )
            raise ValueError(message)
        return value

    @field_validator("trusted_proxies")
    @classmethod
    def _proxies_are_networks(cls, value: str) -> str:
        for text in _listed(value):
            ip_network(text, strict=False)  # Its error says what is wrong.
        return value

    def read_again(self, name: str) -> str:
        """Return the setting *name* as the file has it now that it was read from.

        Raises:
            InvalidSettings: If the file cannot be read, or what it has cannot be used.
        """
        file = getattr(self, name + _FILE)
        try:
            value = _text_of(file)
            self.model_validate({**self.model_dump(exclude_unset=True), name: value})
        except ValidationError as error:
            why = error.errors()[0]["msg"].removeprefix("Value error, ")
        except (OSError, ValueError) as error:
            why = str(error)
        else:
            return value
        raise InvalidSettings(f"{_flag(name + _FILE)}={file!r}: {why}")

    def consul_url(self) -> str:
        """Return the URL of the Consul agent; to be asked only where there is one."""
        return _url_of_agent(self.consul or "")

    def refuse_open(self, *names: str) -> None:
        """Refuse to listen on other than loopback addresses where callers need no token, unless `insecure` is set.

        Raises:
            InvalidSettings: If one of the settings *names* is no address of loopback, and neither is the case.
        """
        lines = [
            f"{_flag(name)}={address}: anyone who reaches this address can do everything, for there is no "
            f"authentication; say {_REMEDY.get(name, '')}--insecure if a firewall or a proxy keeps others out"
            for name in names
            if not _is_loopback(address := getattr(self, name)) and not (name in _REMEDY and self.auth == "token")
        ]
        if lines and not self.insecure:
            raise InvalidSettings("\n".join(lines))

    def own_hosts(self) -> list[str]:
        """Return the names that requests may have in `Host`, besides those of loopback."""
        return [in_url(self.host), *_listed(self.hosts)]

    def proxies(self) -> list[IPv4Network | IPv6Network]:
        """Return the networks of the proxies whose word on a caller's address is taken."""
        return [ip_network(text, strict=False) for text in _listed(self.trusted_proxies)]

    @classmethod
    def read(cls, flags: Mapping[str, Any], environment: Mapping[str, str]) -> Settings:
        """Read settings from flags, else from `IPAM_*` variables, else defaults; those of a file from it.

        Raises:
            InvalidSettings: With a line for every value that cannot be used.
        """
        lines: list[str] = []
        given, origin = cls._given(flags, environment)
        for name in [name for name in given if name.endswith(_FILE)]:
            try:
                _take_from_file(name, given, origin)
            except (OSError, ValueError) as error:
                lines.append(f"{origin[name]}={given[name]!r}: {error}")
        try:
            read = cls.model_validate(given)
        except ValidationError as error:
            for fault in error.errors():
                where, value = origin[str(fault["loc"][0])], without_password(str(fault["input"]))
                lines.append(f"{where}={value!r}: {fault['msg'].removeprefix('Value error, ')}")
        if not given.get("consul"):
            lines += [
                f"{origin[name]}={given[name]!r}: needs --consul as well"
                for name in ("consul_broker", "consul_bus")
                if name in given
            ]
        if lines:
            raise InvalidSettings("\n".join(lines))
        return read

    @classmethod
    def _given(
        cls, flags: Mapping[str, Any], environment: Mapping[str, str]
    ) -> tuple[dict[str, Any], dict[str, str]]:
        """Return what is given, and by which flag or variable."""
        given: dict[str, Any] = {}
        origin: dict[str, str] = {}
        for name in cls.model_fields:
            variable = ENVIRONMENT_PREFIX + name.upper()
            if flags.get(name) is not None:
                given[name], origin[name] = flags[name], _flag(name)
            elif environment.get(variable):
                given[name], origin[name] = environment[variable], variable
        return given, origin


def _listed(text: str) -> list[str]:
    """Return what *text* has between commas."""
    return [part.strip() for part in text.split(",") if part.strip()]


def _url_of_agent(text: str) -> str:
    return text if "://" in text else f"http://{text}"


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _take_from_file(name: str, given: dict[str, Any], origin: dict[str, str]) -> None:
    """Put what stands in the file that the setting *name* names among those that are *given*.

    Raises:
        OSError: If it cannot be read.
        ValueError: If it holds nothing, or what it should hold is given in the same way.
    """
    target = name.removesuffix(_FILE)
    if target in given:
        if origin[target].startswith("-") and not origin[name].startswith("-"):
            del given[name]  # A flag wins over a variable here too.
            return
        if origin[target].startswith("-") or not origin[name].startswith("-"):
            message = f"{origin[target]} is given as well; leave one of them out"
            raise ValueError(message)
    given[target], origin[target] = _text_of(given[name]), origin[name]


def _text_of(file: str) -> str:
    """Return what a *file* has that holds a secret.

    Raises:
        OSError: If it cannot be read.
        ValueError: If it is empty, or no text.
    """
    text = Path(file).read_text(encoding="utf-8").strip()
    if not text:
        message = "the file is empty"
        raise ValueError(message)
    return text


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"
