"""Passwords that are replaced while everything is running."""

import socket
from contextlib import suppress
from pathlib import Path

import pytest

from ipam.embedded.processes import USER, mongo_uri, redis_part, redis_url
from ipam.storage.connection import connect, create_only_user
from tests.support import servers
from tests.support.servers import Process, replace, wait_until
from tests.support.stack import Stack


class Secrets:
    """A database and a broker that ask for a password, and the files that hold their addresses."""

    def __init__(self, folder: Path) -> None:
        self._database, redis = servers.database(folder), redis_part(folder)
        self._broker = Process(redis, folder / "redis.log", lambda: is_listening(redis.port))
        self.parts: list[Process] = [self._database, self._broker]
        self._files = {"IPAM_MONGO_FILE": folder / "mongo", "IPAM_BROKER_FILE": folder / "broker"}
        for part in self.parts:
            part.start()
        create_only_user(mongo_uri(self._database.part.port), USER, "former-password", 20)
        self._database.part.command.append("--auth")
        self._begin_anew("former-password")

    @property
    def variables(self) -> dict[str, str]:
        return {name: str(file) for name, file in self._files.items()}

    def replace(self, old: str, new: str) -> None:
        """Replace both passwords, end all connections, and only then change the files."""
        with connect(mongo_uri(self._database.part.port, old), "admin", 20).client as client:
            client.admin.command("updateUser", USER, pwd=new)
        self._begin_anew(new)

    def _begin_anew(self, password: str) -> None:
        self._database.stop(20)  # In order: a user who was created is not in its journal at once.
        self._database.start()
        self._broker.stop()
        with Path(self._broker.part.command[1]).open("a") as configuration:
            configuration.write(f"requirepass {password}\n")
        self._broker.start()
        urls = (mongo_uri(self._database.part.port, password), redis_url(self._broker.part.port, password))
        for file, url in zip(self._files.values(), urls, strict=True):
            replace(file, f"{url}\n")


def is_listening(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=2):
        return True
    return False


@pytest.mark.long
def test_a_password_that_is_replaced_in_its_file_is_used_without_a_restart(redis_url: str, tmp_path: Path):
    secrets = Secrets(tmp_path)
    stack = Stack("", "", tmp_path, bus=redis_url, **secrets.variables)
    stack.start()
    subnet = stack.api.subnet(cidr="10.0.0.0/24")
    stack.api.reserve(subnet)
    secrets.replace("former-password", "present-password")
    wait_until(lambda: stack.api.get("/readyz").status_code == 200, 60, "the web process to use the others")
    wait_until(lambda: stack.api.get("/status").json()["status"] == "ok", 60, "all others to use them")
    (worker,) = stack.workers
    assert "raised unexpected" not in worker.said()
    for process in stack.processes:
        assert process.is_alive()
        assert not any(password in process.said() for password in ("former-password", "present-password"))
    stack.stop()
    for part in secrets.parts:
        part.stop()
