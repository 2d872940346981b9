"""`ipam up`: starts everything, restarts what dies, leaves nothing behind, finds its data again.

Few tests, for its starts are what takes time.
"""

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit
from uuid import uuid4

import psutil
import pytest
import redis
import requests
from bson import ObjectId
from pymongo.errors import OperationFailure
from redis.backoff import NoBackoff
from redis.retry import Retry

from ipam.embedded.processes import database_part, free_port, mongo_uri, redis_part
from ipam.errors import InvalidSettings
from ipam.storage.connection import connect
from tests.support.servers import Consul, _answers, missing, wait_until
from tests.support.stack import Api, created

PARTS = ("database", "redis", "web", "worker", "beat", "relay", "flower")


class Up:
    """`ipam up` in a folder."""

    def __init__(self, folder: Path, *more: str) -> None:
        self.port, self.flower_port = free_port(), free_port()
        self.api = Api(f"http://127.0.0.1:{self.port}")
        # In a folder with files that, were they read, would have all of it fail.
        for name in ("click.py", "falcon.py", "secantusd.toml"):
            (folder / name).write_text("this is not ipam's\n")
        flags = ["--data", str(folder / "data"), "--port", str(self.port), "--flower-port", str(self.flower_port)]
        flags += more
        self._output = folder / f"up-{self.port}.log"
        with self._output.open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-m", "ipam", "up", *flags],
                cwd=folder,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, "PYTHONUNBUFFERED": "1"},
            )
        wait_until(lambda: self.process.poll() is not None or "ready on" in self.text, 60, "ipam up")
        if "--auth" in more:
            self.api.token = (folder / "data" / "admin.token").read_text().strip()
        self.children = psutil.Process(self.process.pid).children(recursive=True)

    @property
    def text(self) -> str:
        return self._output.read_text()

    def end(self, number: signal.Signals) -> int:
        self.process.send_signal(number)
        return self.process.wait(60)

    def alive(self) -> list[psutil.Process]:
        return [one for one in self.children if command_of(one)]

    def running(self, word: str) -> psutil.Process:
        """A child with *word* on its command line."""
        return next(one for one in self.children if word in command_of(one))


def command_of(process: psutil.Process) -> list[str]:
    """The command line of a process that is alive; of one that has ended, however short ago, none."""
    try:
        return process.cmdline()
    except psutil.NoSuchProcess:  # A zombie is one of these.
        return []


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    try:
        database_part(tmp_path, auth=True)
        redis_part(tmp_path)
    except InvalidSettings as error:
        missing(error.detail)
    yield tmp_path
    for child in psutil.Process().children(recursive=True):
        if str(tmp_path) in str(command_of(child)):
            child.kill()


def flower_is_told_of_tasks_once_it_watches(up: Up) -> None:
    """Workers tell of them when it asks for that, seconds after its start."""
    flower, subnet = f"http://127.0.0.1:{up.flower_port}", up.api.subnet(cidr="10.1.0.0/24")
    assert requests.get(flower, timeout=20).status_code == 200
    elsewhere = {"Host": f"rebound.example:{up.flower_port}"}
    assert requests.get(f"{flower}/api/tasks", headers=elsewhere, timeout=20).status_code == 400
    assert requests.get(f"{flower}/healthcheck", headers=elsewhere, timeout=20).status_code == 200

    def is_told() -> bool:
        up.api.reserve(subnet)
        return 'task="ipam.carry_out",type="task-succeeded"' in requests.get(f"{flower}/metrics", timeout=20).text

    wait_until(is_told, 30, "Flower to be told of a task")


def test_everything_starts_outlives_deaths_and_stops_on_ctrl_c(folder: Path):
    """The second time, after it was killed, by a Consul agent, with which it leaves nothing."""
    first = Up(folder)
    assert [name for name in PARTS if f"ipam: {name} started" not in first.text] == []
    subnet = first.api.subnet(cidr="10.0.0.0/29")
    reservation = first.api.reserve(subnet)
    if psutil.LINUX:
        assert [len(first.running(word).cpu_affinity()) for word in ("--storage-path", "serve")] == [1, 1]
    flower_is_told_of_tasks_once_it_watches(first)
    strangers_are_kept_out(folder / "data", first)
    what_is_in_the_way_is_said_in_one_line(folder, first)
    a_child_that_dies_is_started_again(first)
    assert first.api.reserve(subnet)["leases"][0]["address"] == "10.0.0.2"
    first.api.close()
    nothing_outlives_its_parent(first)
    agent = Consul(folder)
    agent.start()
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = other.getsockname()[1]
        second = Up(folder, "--consul", agent.url, "--flower-port", str(taken), "--auth", "token")
        assert f"ipam: --flower-port: 127.0.0.1:{taken} cannot be listened on" in second.text
    assert requests.get(f"{second.api.url}/pools", timeout=20).status_code == 401
    shown = re.search(r"ipam:   (curl -H .*/tokens/self)", second.text)[1]
    own = json.loads(subprocess.run(["bash", "-c", shown], capture_output=True, timeout=20, check=True).stdout)
    assert (own["name"], own["role"]) == ("first", "admin")
    assert (folder / "data" / "admin.token").stat().st_mode & 0o077 == 0
    flower = re.search(r"Flower on (http://127\.0\.0\.1:\d+)", second.text)
    assert requests.get(flower[1], timeout=20).status_code == 200
    assert created(second.api.post(f"/subnets/{subnet['id']}/reservations"))["leases"][0]["address"] == "10.0.0.3"
    assert second.api.get(f"/reservations/{reservation['id']}").status_code == 200
    second.api.close()
    assert {one["Service"] for one in agent.services().values()} == {"mongodb", "redis", "ipam"}
    assert second.end(signal.SIGINT) == 0
    assert second.alive() == []
    assert agent.services() == {}
    agent.stop()


def test_a_database_that_is_there_is_used_and_left_there(folder: Path, database: str):
    name = f"up-{uuid4().hex[:8]}"
    up = Up(folder, "--mongo", database, "--database", name)
    assert f"the database is that at 127.0.0.1:{urlsplit(database).port}" in up.text
    assert "database started" not in up.text
    pool = up.api.pool(name="mine")
    up.api.close()
    assert up.end(signal.SIGTERM) == 0
    assert up.alive() == []
    with connect(database, name, 20).client as client:
        assert [bson["_id"] for bson in client[name]["pools"].find({})] == [ObjectId(pool["id"])]


def up_ends(folder: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    """`ipam up`, which cannot start as it is called."""
    ports = ["--port", str(free_port()), "--flower-port", str(free_port())]
    command = [sys.executable, "-m", "ipam", "up", "--data", str(folder / "data"), *ports, *flags]
    variables = {**os.environ, "IPAM_MONGO_TIMEOUT_S": "1"}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=variables, timeout=60)


def test_a_database_that_does_not_answer_is_named(folder: Path):
    silent = f"127.0.0.1:{free_port()}"
    ended = up_ends(folder, "--mongo", f"mongodb://me:secret@{silent}/?w=1")
    assert (ended.returncode, ended.stderr) == (
        1,
        f"ipam: --mongo: {silent} does not answer; check that MongoDB runs there.\n",
    )


def strangers_are_kept_out(data: Path, up: Up) -> None:
    """Another user of this machine reads no file, and neither server does what he asks of it."""
    assert others_may_read(data) == []
    port = {name: int(re.search(rf"{name} started on port (\d+)", up.text)[1]) for name in ("database", "redis")}
    once = Retry(NoBackoff(), 0)
    with redis.Redis(port=port["redis"], retry=once) as stranger, pytest.raises(redis.AuthenticationError):
        stranger.ping()
    own = re.search(r"^requirepass (.+)$", (data / "redis.conf").read_text(), re.MULTILINE)[1]
    kept = (data / "database.password").read_text().strip()
    assert not any(secret in word for one in up.children for word in command_of(one) for secret in (own, kept))
    with redis.Redis(port=port["redis"], password=own) as owner:
        assert owner.ping()
        with pytest.raises(redis.ResponseError):
            owner.execute_command("CONFIG", "SET", "dir", "/tmp")  # noqa: S108
    stranger = connect(mongo_uri(port["database"]), "ipam", 5)
    with stranger.client, pytest.raises(OperationFailure, match="auth"):
        stranger["pools"].find_one()


def what_is_in_the_way_is_said_in_one_line(folder: Path, up: Up) -> None:
    ports = ["--port", str(free_port()), "--flower-port", str(free_port())]
    wrong = mongo_uri(int(re.search(r"database started on port (\d+)", up.text)[1]), "wrong")
    for data, flags, code, fault in (
        ("other", ["--port", str(up.port)], 2, "--port"),
        ("data", ports, 2, "in use"),
        ("other", ["--host", "192.0.2.1"], 2, "--insecure"),
        ("other", [*ports, "--mongo", wrong], 1, "check the user and the password"),
    ):
        command = [sys.executable, "-m", "ipam", "up", "--data", str(folder / data), *flags]
        ended = subprocess.run(command, capture_output=True, text=True, check=False)
        assert (ended.returncode, len(ended.stderr.splitlines())) == (code, 1), ended.stderr
        assert fault in ended.stderr


def others_may_read(folder: Path) -> list[Path]:
    return [path for path in [folder, *folder.rglob("*")] if path.stat().st_mode & 0o077]


def a_child_that_dies_is_started_again(up: Up) -> None:
    for word in ("serve", "worker"):
        up.running(word).kill()
    wait_until(lambda: len(re.findall("starting it again", up.text)) == 2, 20, "two restarts")
    wait_until(lambda: _answers(lambda: up.api.get("/livez", timeout=2)), 30, "web to be back")


def nothing_outlives_its_parent(up: Up) -> None:
    up.children = psutil.Process(up.process.pid).children(recursive=True)
    up.process.kill()
    up.process.wait()
    wait_until(lambda: not up.alive(), 60, "all children to be gone")


def test_a_database_of_another_version_is_refused_on_the_terminal(folder: Path, database: str):
    name = f"old-{uuid4().hex[:8]}"
    with connect(database, name, 20).client as client:
        client[name]["pools"].insert_one({"_id": ObjectId()})
        client[name]["positions"].insert_one({"_id": "schema", "version": 0})
    ended = up_ends(folder, "--mongo", database, "--database", name)
    assert ended.returncode == 2
    assert ended.stderr.startswith(f"ipam: --database={name}: this database has schema version 0, and this version")
    assert ended.stderr.endswith("another --data folder\n")
