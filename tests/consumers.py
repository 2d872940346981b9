"""The consumers that docs/events.md shows, as they stand."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests import servers
from tests.servers import Process, wait_until

PROGRAMS = re.findall(r"```python\n(.*?)```", (Path(__file__).parents[1] / "docs/events.md").read_text(), re.DOTALL)
POLLING, BY_KOMBU, ON_JETSTREAM, ON_NATS = PROGRAMS
# What one that is killed had in hand comes again, and no test is about how late.
SOON_ON_JETSTREAM = ON_JETSTREAM.replace("ack_wait=30", "ack_wait=5")
TIMEOUT_S = 60


# A server, its URL, and the program of the docs for it.
Made = tuple[Process, str, str]
BUSES: dict[str, Callable[[Path], Made]] = {
    # What nobody has fetched yet is kept only by a Redis that writes it down.
    "redis": lambda folder: (
        one := servers.redis(folder, keeps=True),
        f"redis://127.0.0.1:{one.part.port}/0",
        BY_KOMBU,
    ),
    "rabbitmq": lambda folder: (one := servers.rabbitmq(folder), one.url, BY_KOMBU),
    "nats": lambda folder: (
        one := servers.nats(folder, keeps=False),
        f"nats://127.0.0.1:{one.part.port}",
        ON_NATS,
    ),
    "jetstream": lambda folder: (
        one := servers.nats(folder, keeps=True),
        f"nats://127.0.0.1:{one.part.port}",
        SOON_ON_JETSTREAM,
    ),
}


def whole_lines(log: Path) -> list[str]:
    """The lines of *log*, but for the last one while it is half written."""
    return log.read_text().rpartition("\n")[0].splitlines()


class Heard:
    """What a consumer has printed."""

    def __init__(self, log: Path, process: subprocess.Popen) -> None:
        self._log = log
        self._process = process

    def pause(self) -> None:
        """Let the consumer hold its breath, until it is killed."""
        self._process.send_signal(signal.SIGSTOP)

    def lines(self) -> list[str]:
        return [line for line in whole_lines(self._log) if line[:1].isdigit()]

    def wait_for(self, last: str) -> list[str]:
        """All lines, when *last* is the last of them: how many there are, who was killed decides as well."""
        wait_until(lambda: self.lines()[-1:] == [last], TIMEOUT_S, f"{last} in\n{self._log.read_text()}")
        return self.lines()


@contextmanager
def consumer(program: str, url: str, folder: Path) -> Iterator[Heard]:
    """Run a program of the docs; what it hears from then on is in what it prints."""
    log = folder / "consumer.log"
    with log.open("wb") as output:
        process = subprocess.Popen([sys.executable, "-uc", program, url], cwd=folder, stdout=output, stderr=output)
    try:
        wait_until(lambda: "listening" in log.read_text() or process.poll() is not None, TIMEOUT_S, "a consumer")
        yield Heard(log, process)
    finally:
        process.kill()
        process.wait()


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
