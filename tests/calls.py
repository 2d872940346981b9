"""Counting calls to the database; and dispatchers for services that no worker looks after."""

from collections import Counter
from collections.abc import Callable, Sequence

from bson import ObjectId
from pymongo.monitoring import CommandListener, CommandStartedEvent

from ipam.wiring import Services

_READS = ("find", "getMore", "aggregate", "count")


class Calls(CommandListener):
    """Counts them, by command and collection."""

    def __init__(self) -> None:
        self.made: Counter[str] = Counter()

    def started(self, event: CommandStartedEvent) -> None:
        """Count it, but for what is asked once a server."""
        if event.command_name != "buildinfo":
            self.made[f"{event.command_name} {event.command[event.command_name]}"] += 1

    def succeeded(self, event: object) -> None:
        """Nothing: a call counts when it is made."""

    def failed(self, event: object) -> None:
        """Nothing, as above."""

    def of(self, work: Callable[[], object]) -> tuple[int, int]:
        """How many reads and how many writes *work* makes."""
        self.made.clear()
        work()
        reads = sum(count for name, count in self.made.items() if name.startswith(_READS))
        return reads, self.made.total() - reads


class Nobody:
    """Sends nothing."""

    def dispatch(self, target: ObjectId) -> None:
        """Nobody is to be woken."""

    def announce(self, jobs: Sequence[ObjectId]) -> None:
        """Nobody waits."""


class By(Nobody):
    """A *worker* that does what it is asked for at once."""

    def __init__(self, worker: Services) -> None:
        self._worker = worker

    def dispatch(self, target: ObjectId) -> None:
        """Carry it out."""
        self._worker.jobs.carry_out(target)
