"""Counting calls to the database; and dispatchers for services that no worker looks after."""

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from bson import ObjectId
from pymongo.monitoring import CommandListener, CommandStartedEvent

from ipam.allocation.dispatcher import JobResults
from ipam.hooks.admission import AdmissionController
from ipam.settings import Settings
from ipam.storage.stores import Stores
from ipam.wiring import Services, build_services

_READS = ("find", "getMore", "aggregate", "count")


class Calls(CommandListener):
    """Counts them, by command and collection."""

    def __init__(self) -> None:
        self.made: Counter[str] = Counter()
        self.filters: list[tuple[str, Mapping[str, Any]]] = []

    def started(self, event: CommandStartedEvent) -> None:
        """Count it, but for what is asked once a server; and keep what is looked for, by collection.

        Nor does the write count that only the embedded server needs behind a call to several collections.
        """
        is_of_journal = event.command.get("update") == "positions"
        if event.command_name != "buildinfo" and not is_of_journal:
            self.made[f"{event.command_name} {event.command[event.command_name]}"] += 1
        if event.command_name == "find":
            self.filters.append((event.command["find"], event.command["filter"]))

    def succeeded(self, event: object) -> None:
        """Nothing: a call counts when it is made."""

    def failed(self, event: object) -> None:
        """Nothing, as above."""

    def of(self, work: Callable[[], object]) -> tuple[int, int]:
        """How many reads and how many writes *work* makes."""
        self.made.clear()
        self.filters.clear()
        work()
        reads = sum(count for name, count in self.made.items() if name.startswith(_READS))
        return reads, self.made.total() - reads


class NoDispatcher:
    """Sends no message."""

    def dispatch(self, target: ObjectId, pause_s: float = 0.0) -> None:
        """NoDispatcher is to be woken."""

    def publish_results(self, ends: JobResults) -> None:
        """NoDispatcher waits."""


class _By(NoDispatcher):
    """A *worker* that does what it is asked for at once."""

    def __init__(self, worker: Services) -> None:
        self._worker = worker

    def dispatch(self, target: ObjectId, pause_s: float = 0.0) -> None:  # noqa: ARG002
        """Carry it out."""
        self._worker.job_runner.run(target)


class _To(NoDispatcher):
    """Tells a web process, as soon as there is one, of the ends of jobs."""

    def __init__(self) -> None:
        self.web: Services | None = None

    def publish_results(self, ends: JobResults) -> None:
        """Tell it."""
        assert self.web is not None
        self.web.job_waiter.on_results(ends)


def web_with_worker(of_web: Stores, of_worker: Stores) -> Services:
    """A web process whose jobs are done at once by a worker with stores of its own, and announced to it."""
    told = _To()
    worker = build_services(of_worker, Settings(), told, AdmissionController())
    told.web = build_services(of_web, Settings(), _By(worker), AdmissionController())
    return told.web
