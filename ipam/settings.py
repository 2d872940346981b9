"""Everything that can be set, read once at start; all faults are reported together."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from ipam.errors import InvalidSettings

ENVIRONMENT_PREFIX = "IPAM_"
BUS_SCHEMES = ("amqp", "amqps", "redis", "rediss", "nats", "tls")
BROKER_SCHEMES = ("redis", "rediss", "amqp", "amqps")


def without_password(value: str) -> str:
    """*value*, a URL perhaps, as it may be shown: the credentials in it are struck out."""
    return re.sub(r"//[^/]*@", "//***@", value)


def of_scheme(value: str, schemes: tuple[str, ...]) -> str:
    """*value*, a URL.

    Raises:
        ValueError: If it begins with none of *schemes*.
    """
    if urlsplit(value).scheme not in schemes:
        message = f"must start with one of {', '.join(scheme + '://' for scheme in schemes)}"
        raise ValueError(message)
    return value


class Settings(BaseModel):
    """Frozen settings; a name ends in its unit where it has one.

    A field's description is also the help text of its flag, so it speaks to a stranger.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: str = Field("127.0.0.1", description="Address that the HTTP API listens on.")
    port: int = Field(8000, ge=0, le=65535, description="Port of the HTTP API; 0 picks a free one.")
    threads: int = Field(
        96, ge=4, le=1024, description="Request threads of a web process; three in four may wait for a job."
    )
    stop_timeout_s: float = Field(
        8.0, ge=0, le=600, description="How long a web process that is to stop goes on with requests it has begun."
    )
    mongo: str = Field(
        "127.0.0.1:27017",
        min_length=1,
        description="MongoDB: host[:port], several separated by commas, or a mongodb:// URI. "
        "Ignored when --consul is given.",
    )
    database: str = Field(
        "ipam", pattern=r"^[A-Za-z0-9_-]{1,38}$", description="Name of the MongoDB database that holds everything."
    )
    mongo_timeout_s: float = Field(
        4.0, gt=0, le=600, description="Longest time that one MongoDB call of a web process may take."
    )
    consul: str | None = Field(
        None, description="Address of a Consul agent, host[:port]; MongoDB is then looked up there at start."
    )
    consul_mongo: str = Field("mongodb", min_length=1, description="Name of the MongoDB service in Consul.")
    broker: str = Field(
        "redis://127.0.0.1:6379/0", description="Celery's broker: a redis:// or amqp:// (RabbitMQ) URL."
    )
    bus: str | None = Field(
        None,
        description="Where events go out: an amqp:// (RabbitMQ), redis:// or nats:// URL; amqps://, rediss:// and "
        "tls:// are the same over TLS.",
    )
    concurrency: int = Field(2, ge=1, le=256, description="Processes of a worker.")
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
    log_level: str = Field(
        "info", pattern="^(debug|info|warning|error)$", description="debug, info, warning or error."
    )

    @field_validator("broker")
    @classmethod
    def _broker_is_one_that_celery_can_use(cls, value: str) -> str:
        return of_scheme(value, BROKER_SCHEMES)

    @field_validator("bus")
    @classmethod
    def _bus_is_one_that_there_is(cls, value: str | None) -> str | None:
        return value and of_scheme(value, BUS_SCHEMES)

    @classmethod
    def read(cls, flags: Mapping[str, Any], environment: Mapping[str, str]) -> Settings:
        """Settings from flags, else from `IPAM_*` variables, else the defaults.

        Raises:
            InvalidSettings: With a line for every value that cannot be used.
        """
        given: dict[str, Any] = {}
        origin: dict[str, str] = {}
        for name in cls.model_fields:
            flag, variable = f"--{name.replace('_', '-')}", ENVIRONMENT_PREFIX + name.upper()
            if flags.get(name) is not None:
                given[name], origin[name] = flags[name], flag
            elif environment.get(variable):
                given[name], origin[name] = environment[variable], variable
        try:
            return cls.model_validate(given)
        except ValidationError as error:
            lines = []
            for fault in error.errors():
                where, value = origin[str(fault["loc"][0])], without_password(str(fault["input"]))
                lines.append(f"{where}={value!r}: {fault['msg'].removeprefix('Value error, ')}")
            raise InvalidSettings("\n".join(lines)) from None
