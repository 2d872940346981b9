"""The consumers in `examples/`, as they stand, and `ipam events tail`."""

import http.server
import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from tests.support import servers
from tests.support.servers import Process, wait_until

EXAMPLES = Path(__file__).parents[2] / "examples"
TIMEOUT_S = 60

# A server, its URL, and the example that listens on it.
Made = tuple[Process, str, str]
BUSES: dict[str, Callable[[Path], Made]] = {
    # What nobody has fetched yet is kept only by a Redis that writes it down.
    "redis": lambda folder: (
        one := servers.redis(folder, keeps=True),
        f"redis://127.0.0.1:{one.part.port}/0",
        "by_kombu.py",
    ),
    "rabbitmq": lambda folder: (one := servers.rabbitmq(folder), one.url, "by_kombu.py"),
    "nats": lambda folder: (
        one := servers.nats(folder, keeps=False),
        f"nats://127.0.0.1:{one.part.port}",
        "by_nats.py",
    ),
    "jetstream": lambda folder: (
        one := servers.nats(folder, keeps=True),
        f"nats://127.0.0.1:{one.part.port}",
        "by_nats.py",
    ),
}


def whole_lines(log: Path) -> list[str]:
    """The lines of *log*, but for the last one while it is half written."""
    return log.read_text().rpartition("\n")[0].splitlines()


def entered(folder: Path) -> list[tuple[int, str, str]]:
    """What a consumer in *folder* has entered, in the order in which it did."""
    with closing(sqlite3.connect(folder / "history.sqlite")) as database:
        return database.execute("SELECT sequence, type, subject FROM history ORDER BY rowid").fetchall()


class Heard:
    """What a consumer has printed since it was started."""

    def __init__(self, log: Path) -> None:
        self._log = log

    def lines(self) -> list[str]:
        return [line for line in whole_lines(self._log) if line[:1].isdigit()]

    def wait_for(self, last: str) -> list[str]:
        """All lines, when *last* is the last of them."""
        wait_until(lambda: self.lines()[-1:] == [last], TIMEOUT_S, f"{last} in\n{self._log.read_text()}")
        return self.lines()


@contextmanager
def consumer(example: str, folder: Path, *urls: str) -> Iterator[Heard]:
    """Run an example, with *urls* of a bus and of the API, until it is killed at the end."""
    log = folder / "consumer.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, EXAMPLES / example, *urls], cwd=folder, stdout=output, stderr=output
        )
    try:
        wait_until(lambda: "listening" in log.read_text() or process.poll() is not None, TIMEOUT_S, "a consumer")
        assert process.poll() is None, log.read_text()
        yield Heard(log)
        assert process.poll() is None, log.read_text()
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()


@contextmanager
def silent_log() -> Iterator[str]:
    """The URL of an API whose log has nothing: so all that a consumer hears has come over its bus."""

    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps({"events": [], "after": f"{0:020}"}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_args: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@contextmanager
def tail(folder: Path, *flags: str) -> Iterator[Callable[[], list[str]]]:
    """`ipam events tail`; what it has printed so far is what the result returns."""
    log = folder / "tail.log"
    command = [sys.executable, "-m", "ipam", "events", "tail", *flags]
    with log.open("wb") as output, (folder / "tail.err").open("wb") as errors:
        process = subprocess.Popen(
            command, stdout=output, stderr=errors, env={**os.environ, "PYTHONUNBUFFERED": "1"}
        )
    try:
        yield lambda: whole_lines(log)
        process.send_signal(signal.SIGINT)
        assert process.wait(TIMEOUT_S) == 0, (folder / "tail.err").read_text()
    finally:
        process.kill()
        process.wait()
