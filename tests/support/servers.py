"""Real servers for the tests: each on a free loopback port, stopped by its own process id."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests
from kombu import Connection
from redis import Redis

from ipam.embedded.processes import ProcessSpec, database_part, free_port, mongo_uri, redis_part
from ipam.errors import InvalidSettings, Transient
from ipam.storage.connection import connect
from ipam.storage.stores import Stores

RABBITMQ = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
READY_TIMEOUT_S = 60


class Process:
    """A child process that can be killed and started again with the same command."""

    def __init__(self, part: ProcessSpec, log: Path, is_ready: Callable[[], bool] = lambda: True) -> None:
        self.part = part
        self._log = log
        self._is_ready = is_ready
        self._child: subprocess.Popen | None = None

    def start(self) -> None:
        with self._log.open("ab") as log:
            self._child = self.part.start(log)
        wait_until(self._ready_or_dead, READY_TIMEOUT_S, f"{self.part.name} to be ready")

    def _ready_or_dead(self) -> bool:
        if not self.is_alive():
            raise AssertionError(f"{self.part.name} ended with {self._child.returncode}:\n{self.said()[-3000:]}")
        return self._is_ready()

    @property
    def pid(self) -> int:
        return self._child.pid

    def is_alive(self) -> bool:
        return self._child.poll() is None

    def said(self) -> str:
        """All that it has printed, from its first start on."""
        return self._log.read_text(errors="replace")

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Let it hold its breath: it is there, and does not answer."""
        os.kill(self.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(self.pid, signal.SIGCONT)

    @contextlib.contextmanager
    def away(self) -> Iterator[None]:
        """It has stopped, and starts again however what is done meanwhile ends."""
        self.stop()
        try:
            yield
        finally:
            self.start()

    def kill(self) -> None:
        """`kill -9` of the process with all of its children, nobody being told."""
        if self._child is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._child.pid, signal.SIGKILL)
        self._child.wait()

    def stop(self, timeout_s: float = 20) -> int:
        """SIGTERM, and SIGKILL if that does not help; returns the exit code."""
        self.tell_to_stop()
        return self.stopped(timeout_s)

    def tell_to_stop(self) -> None:
        if self._child is not None:
            self._child.terminate()

    def stopped(self, timeout_s: float = 20) -> int:
        """Wait for the end of what was told to stop."""
        if self._child is None:
            return 0
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._child.wait(timeout_s)
        self.kill()
        return self._child.returncode


def wait_until(condition: Callable[[], bool], timeout_s: float, what: str) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"waited {timeout_s} s for {what}"
        time.sleep(0.05)


def replace(file: Path, text: str) -> None:
    """Give *file* another text at once, so that nothing that reads it meanwhile finds half of it."""
    written = file.with_name(f"{file.name}.new")
    written.write_text(text)
    written.replace(file)


def missing(what: str) -> None:
    """A laptop may do without a server; CI may not."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"{what}; run `make test-servers`")
    pytest.skip(f"{what}; run `make test-servers`")


class Database(Process):
    """Takes five seconds over an orderly end, which no test is about; so it gets none."""

    def stop(self, timeout_s: float = 0) -> int:
        return super().stop(timeout_s)


def database(folder: Path) -> Process:
    part = _embedded(lambda: database_part(folder, auth=False))
    return Database(part, folder / "database.log", lambda: _answers(lambda: _ping_database(part.port)))


def _ping_database(port: int) -> None:
    stores = Stores(connect(mongo_uri(port), "admin", 2))
    try:
        stores.whole.ping()
    finally:
        stores.whole.close()


def redis(folder: Path, *, keeps: bool = False) -> Process:
    part = _embedded(lambda: redis_part(folder))
    if keeps:
        part.command.extend(["--appendonly", "yes"])
    return Process(part, folder / "redis.log", lambda: _answers(lambda: _ping_redis(part.port)))


def _ping_redis(port: int) -> None:
    with Redis(port=port) as client:
        client.ping()


def _embedded(make: Callable[[], ProcessSpec]) -> ProcessSpec:
    try:
        return make()
    except InvalidSettings as error:
        return missing(error.detail)


def rabbitmq(folder: Path) -> "RabbitMq":
    if not RABBITMQ.exists() or not shutil.which("epmd"):
        missing("RabbitMQ is not installed")
    return RabbitMq(folder)


class RabbitMq(Process):
    """A RabbitMQ node with its own Erlang port mapper, so that none is left behind."""

    def __init__(self, folder: Path) -> None:
        port, mapper_port = free_port(), free_port()
        environment = {
            "HOME": str(folder),
            "ERL_EPMD_PORT": str(mapper_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODENAME": f"ipam-{port}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(port),
            "RABBITMQ_DIST_PORT": str(free_port()),
            "RABBITMQ_MNESIA_BASE": str(folder / "mnesia"),
            "RABBITMQ_LOG_BASE": str(folder / "log"),
            "RABBITMQ_LOGS": "-",
            "RABBITMQ_PID_FILE": str(folder / "pid"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "plugins"),
            "RABBITMQ_CONF_ENV_FILE": str(folder / "no-such.conf"),
            # Few schedulers that sleep when idle: the machine has two cores, and the tests want them.
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1} +S 2:2 +sbwt none",
        }
        part = ProcessSpec("rabbitmq", [str(RABBITMQ)], port, environment)
        super().__init__(part, folder / "rabbitmq.log", lambda: _answers(self._connect))
        self.url = f"amqp://guest:guest@127.0.0.1:{port}//"
        mapper = ProcessSpec("epmd", ["epmd", "-port", str(mapper_port), "-address", "127.0.0.1"], mapper_port, {})
        self._mapper = Process(mapper, folder / "epmd.log")
        self._mapper.start()

    def administer(self, script: str, **variables: str) -> None:
        """Run a shell script with `rabbitmqctl` in it."""
        path = f"{RABBITMQ.parent}:{os.environ['PATH']}"
        environment = {**os.environ, **self.part.environment, "PATH": path, **variables}
        subprocess.run(["sh", "-ec", script], env=environment, check=True, capture_output=True, timeout=60)

    def _connect(self) -> None:
        with Connection(self.url, connect_timeout=2) as connection:
            connection.ensure_connection(max_retries=1, timeout=2)

    def stop(self, timeout_s: float = 20) -> int:
        code = super().stop(timeout_s)
        self._mapper.stop()
        return code


def nats(folder: Path, *, keeps: bool, most_bytes: int = 1024 * 1024, configuration: str = "") -> Process:
    """A NATS server that keeps what it is told in streams (JetStream), or does not, with more *configuration*."""
    found = shutil.which("nats-server") or shutil.which("nats-server", path="/usr/sbin")
    if not found:
        missing("NATS is not installed")
    port = free_port()
    settings = folder / "nats.conf"
    settings.write_text(f"max_payload: {most_bytes}\n{configuration}")
    streams = ["--jetstream", "--store_dir", str(folder / "jetstream")] if keeps else []
    part = ProcessSpec(
        "nats", [found, "--addr", "127.0.0.1", "--port", str(port), "--config", str(settings), *streams], port
    )
    return Process(
        part, folder / "nats.log", lambda: _answers(lambda: socket.create_connection(("127.0.0.1", port)).close())
    )


class Consul(Process):
    """A Consul agent that keeps nothing: when it starts anew, it knows what is in its configuration."""

    def __init__(self, folder: Path, configuration: Path | None = None) -> None:
        found = shutil.which("consul") or missing("Consul is not installed")
        port, server, serf = free_port(), free_port(), free_port()
        command = [found, "agent", "-dev", "-bind", "127.0.0.1", "-client", "127.0.0.1", "-http-port", str(port)]
        command += ["-server-port", str(server), "-serf-lan-port", str(serf), "-serf-wan-port", "-1"]
        command += ["-dns-port", "-1", "-grpc-port", "-1"]
        command += ["-config-file", str(configuration)] if configuration else []
        super().__init__(
            ProcessSpec("consul", command, port), folder / "consul.log", lambda: _answers(self._has_leader)
        )
        self.url = f"http://127.0.0.1:{port}"

    def register(self, name: str, port: int, *tags: str, **more: object) -> None:
        """Register a service of this machine under its own name, healthy if nothing *more* says otherwise."""
        entry = {"Name": name, "Address": "127.0.0.1", "Port": port, "Tags": tags, **more}
        requests.put(f"{self.url}/v1/agent/service/register", json=entry, timeout=10).raise_for_status()

    def health(self, name: str) -> dict[str, str]:
        """The worst state of each instance of a service, by its id."""
        entries = requests.get(f"{self.url}/v1/health/service/{name}", timeout=10).json()
        return {entry["Service"]["ID"]: min(check["Status"] for check in entry["Checks"]) for entry in entries}

    def services(self, token: str = "") -> dict[str, dict]:
        """All that is registered and that *token* may see, by id."""
        headers = {"X-Consul-Token": token}
        return requests.get(f"{self.url}/v1/agent/services", headers=headers, timeout=10).json()

    def _has_leader(self) -> None:
        if requests.get(f"{self.url}/v1/status/leader", timeout=2).json() == "":
            raise ConnectionError


def _answers(ask: Callable[[], object]) -> bool:
    try:
        ask()
    except (Transient, OSError, ConnectionError):
        return False
    except Exception as error:  # noqa: BLE001 (each client has errors of its own for "not yet")
        return "onnect" not in repr(error) and "imeout" not in repr(error)
    return True
