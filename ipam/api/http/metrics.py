"""Metrics of the requests to this web process, and to those beside it on the same port."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from shutil import rmtree

from prometheus_client import CollectorRegistry, Counter, Histogram, values
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

# Where the library looks for the folder that processes share.
_FOLDER = "PROMETHEUS_MULTIPROC_DIR"
# Seconds. A sync request for addresses takes some tens of milliseconds; one that waits, up to a minute.
_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"))
# The route of a path at which there is none, and the method that is none of HTTP's usual ones.
_NONE, _OTHER = "none", "other"


class RequestMetrics:
    """Counts requests and their times, by route and not by path."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "ipam_http_requests",
            "Requests that were answered.",
            ["route", "method", "status"],
            registry=self._registry,
        )
        self._seconds = Histogram(
            "ipam_http_request_duration_seconds",
            "Time from reading a request to its answer.",
            ["route", "method"],
            buckets=_BUCKETS,
            registry=self._registry,
        )

    def observe(self, route: str | None, method: str, status: int, seconds: float) -> None:
        """Count a request to *route*, None if there is none at its path, that took *seconds*."""
        route, method = route or _NONE, method if method in _METHODS else _OTHER
        self._requests.labels(route, method, str(status)).inc()
        self._seconds.labels(route, method).observe(seconds)

    def exposed_with(self, *others: Collector) -> CollectorRegistry:
        """Return the registry of these metrics and of *others*; processes that share a folder are added up."""
        exposed = self._registry
        if (folder := os.environ.get(_FOLDER)) is not None:
            exposed = CollectorRegistry()
            MultiProcessCollector(exposed, folder)  # type: ignore[no-untyped-call]
        for other in others:
            exposed.register(other)
        return exposed


@contextmanager
def shared_folder() -> Iterator[None]:
    """Make a folder by which the processes that are forked within the block add up their metrics.

    It is removed at the end of the process that has made it, not of those that were forked from it.
    """
    owner = os.getpid()
    folder = Path(tempfile.mkdtemp(prefix="ipam-metrics-"))
    os.environ[_FOLDER] = str(folder)
    try:
        yield
    finally:
        if os.getpid() == owner:
            rmtree(folder, ignore_errors=True)


def share(place: int) -> None:
    """Have this process keep its metrics in the shared folder, at its *place* among those on the port.

    A process that replaces another goes on with what that has counted.
    """
    values.ValueClass = values.MultiProcessValue(lambda: place)  # type: ignore[no-untyped-call]
