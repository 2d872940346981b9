"""The transport of kombu for Redis, which says of a connection that is closed what it is, and keeps its client."""

from __future__ import annotations

from typing import Any

from kombu.transport import TRANSPORT_ALIASES, redis
from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError


def use_redis_transport() -> None:
    """Let every connection to a `redis://` or `rediss://` URL that kombu opens from now on have this transport."""
    for scheme in ("redis", "rediss"):
        TRANSPORT_ALIASES[scheme] = f"{__name__}:Transport"


class Channel(redis.Channel):
    """A channel that raises a connection error when it is to do something after its connection was closed.

    When Redis goes away, Celery closes the connection, and then lets the tasks in hand come to their end and
    acknowledges their messages on it. It expects a connection error there. kombu 5.7 raises `AttributeError`
    instead, of which a worker dies.

    And it has one client for each pool of connections. kombu makes one for each message, which takes longer than to
    send it.
    """

    _kept: Redis | None = None

    def _create_client(self, asynchronous: bool = False) -> Redis:  # noqa: FBT001, FBT002 (as kombu has it)
        if asynchronous:
            return super()._create_client(asynchronous=True)  # type: ignore[no-any-return, misc]
        if self._kept is None or self._kept.connection_pool is not self.pool:
            self._kept = super()._create_client()  # type: ignore[misc]
        return self._kept

    def _connparams(self, *args: Any, **named: Any) -> dict[str, Any]:
        if self.connection is None or self.connection.client is None:
            raise RedisConnectionError("the connection to Redis is closed")
        parameters: dict[str, Any] = super()._connparams(*args, **named)  # type: ignore[misc]
        return parameters


class Transport(redis.Transport):
    """kombu's transport for Redis, but for its channels, and for what it takes for a lost connection.

    An error that Redis answers with (read-only, out of memory, loading, a cluster that is down) says that this
    server cannot be used now. kombu has it among the errors of a channel, at which a worker ends.
    """

    Channel = Channel
    connection_errors = (*redis.Transport.connection_errors, ResponseError)
