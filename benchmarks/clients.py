"""HTTP clients that cost little: what they take of the machine, ipam cannot have."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from typing import Any
from urllib.parse import urlsplit


class Client:
    """Keeps a connection for each thread."""

    def __init__(self, url: str) -> None:
        self._host = urlsplit(url).netloc
        self._local = threading.local()

    def request(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, bytes]:
        """Status and body of the answer."""
        connection = getattr(self._local, "connection", None)
        if connection is None:
            connection = self._local.connection = HTTPConnection(self._host, timeout=120)
        sent = None if body is None else json.dumps(body)
        connection.request(method, path, sent, {"Content-Type": "application/json", **headers})
        with connection.getresponse() as answer:
            return answer.status, answer.read()

    def post(self, path: str, body: Any, **headers: str) -> dict[str, Any]:
        """The JSON of the answer to a POST: that it is done, or accepted."""
        status, answer = self.request("POST", path, body, **headers)
        assert status in (201, 202), answer
        parsed: dict[str, Any] = json.loads(answer)
        return parsed

    def get(self, path: str) -> dict[str, Any]:
        """The JSON of the answer to a GET."""
        status, answer = self.request("GET", path)
        assert status == 200, answer
        parsed: dict[str, Any] = json.loads(answer)
        return parsed

    def delete(self, path: str) -> None:
        """DELETE, and wait until it is done."""
        status, answer = self.request("DELETE", path, None, Prefer="wait=60")
        assert status == 204, answer


def seconds(work: Callable[[], object]) -> float:
    """How long *work* takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def times_of(clients: int, requests: int, work: Callable[[int], object]) -> tuple[float, list[float]]:
    """How long it takes until so many *clients* have done *work* so often together, and how long each took."""
    with ThreadPoolExecutor(clients) as threads:
        began = time.perf_counter()
        each = list(threads.map(lambda n: seconds(lambda: work(n)), range(requests)))
        return time.perf_counter() - began, each
