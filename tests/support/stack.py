"""ipam's own processes for the tests, and a client for them."""

import sys
import threading
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import uuid4

import requests

from ipam.embedded.processes import ProcessSpec, free_port
from tests.support.described import assert_described
from tests.support.servers import Process, _answers, wait_until

# Short, so that the tests of recovery need not wait long; see the settings of the same names.
CLAIM_TIMEOUT_S = 3
RECOVERY_INTERVAL_S = 0.5


class Api:
    """HTTP to one web process; a connection a thread. Each answer is held against the description of the API."""

    def __init__(self, url: str, token: str | None = None) -> None:
        self.url = url
        self.token = token
        self._local = threading.local()
        self._sessions: list[requests.Session] = []

    def request(self, method: str, path: str, **kwargs: Any) -> requests.Response:
        if not hasattr(self._local, "session"):
            self._local.session = requests.Session()
            if self.token is not None:
                self._local.session.headers["Authorization"] = f"Bearer {self.token}"
            self._sessions.append(self._local.session)
        kwargs.setdefault("timeout", 90)
        answer = self._local.session.request(method, self.url + path, **kwargs)
        assert_described(answer)
        return answer

    def get(self, path: str, **kwargs: Any) -> requests.Response:
        return self.request("GET", path, **kwargs)

    def post(self, path: str, json: Any = None, **kwargs: Any) -> requests.Response:
        return self.request("POST", path, json={} if json is None else json, **kwargs)

    def patch(self, path: str, json: Any, **kwargs: Any) -> requests.Response:
        return self.request("PATCH", path, json=json, **kwargs)

    def put(self, path: str, json: Any, **kwargs: Any) -> requests.Response:
        return self.request("PUT", path, json=json, **kwargs)

    def delete(self, path: str, **kwargs: Any) -> requests.Response:
        return self.request("DELETE", path, **kwargs)

    def close(self) -> None:
        for session in self._sessions:
            session.close()

    def pool(self, **fields: Any) -> dict[str, Any]:
        return created(self.post("/pools", fields))

    def subnet(self, pool: dict[str, Any] | None = None, **fields: Any) -> dict[str, Any]:
        pool = pool or self.pool(name="of a test")
        return created(self.post(f"/pools/{pool['id']}/subnets", fields))

    def reserve(self, subnet: dict[str, Any], **fields: Any) -> dict[str, Any]:
        return created(self.post(f"/subnets/{subnet['id']}/reservations", fields))

    def pages(self, path: str, kind: str) -> list[dict[str, Any]]:
        """All items of a list, page after page."""
        items: list[dict[str, Any]] = []
        following: str | None = path
        while following:
            page = self.get(following).json()
            items += page[kind]
            following = page.get("next")
        return items


def created(response: requests.Response) -> dict[str, Any]:
    assert response.status_code == 201, response.text
    return response.json()


def problem(response: requests.Response) -> tuple[int, str]:
    """Status and slug of a problem, whose form is checked."""
    assert response.headers["Content-Type"] == "application/problem+json", response.text
    body = response.json()
    assert body["status"] == response.status_code
    assert body["title"]
    assert body["detail"]
    return body["status"], body["type"].removeprefix("/problems/")


def all_at_once(count: int, call: Any, arguments: Iterable[Any]) -> list[Any]:
    """What *call* returns for each of *arguments*, *count* at a time."""
    with ThreadPoolExecutor(count) as threads:
        return list(threads.map(call, arguments))


class Stack:
    """web, worker, beat and relay on a database of their own; without another *bus* their broker is the bus.

    *variables* are set for all of them.
    """

    def __init__(
        self, mongo: str, broker: str, folder: Path, workers: int = 1, bus: str | None = None, **variables: str
    ) -> None:
        port = free_port()
        environment = {
            "IPAM_MONGO": mongo,
            "IPAM_DATABASE": f"test-{uuid4().hex[:12]}",
            "IPAM_BROKER": broker,
            "IPAM_CLAIM_TIMEOUT_S": str(CLAIM_TIMEOUT_S),
            "IPAM_RECOVERY_INTERVAL_S": str(RECOVERY_INTERVAL_S),
            **variables,
        }
        self.environment = environment
        self.folder = folder
        self.api = Api(f"http://127.0.0.1:{port}")
        ipam = [sys.executable, "-m", "ipam"]
        web = ProcessSpec("web", [*ipam, "serve", "--port", str(port)], port, environment)
        self.web = Process(web, folder / "web.log", lambda: _answers(lambda: self.api.get("/livez", timeout=2)))
        worker = ProcessSpec("worker", [*ipam, "worker", "--concurrency", "2"], None, environment)
        self.workers = [Process(worker, folder / f"worker-{n}.log") for n in range(workers)]
        self.beat = Process(ProcessSpec("beat", [*ipam, "beat"], None, environment), folder / "beat.log")
        relay = ProcessSpec("relay", [*ipam, "relay", "--bus", bus or broker], None, environment)
        self.relay = Process(relay, folder / "relay.log")

    @property
    def processes(self) -> list[Process]:
        return [self.web, *self.workers, self.beat, self.relay]

    def start(self) -> None:
        for process in self.processes:
            process.start()

    def stop(self) -> None:
        for process in self.processes:
            process.tell_to_stop()
        for process in self.processes:
            process.stopped()
        self.api.close()

    def wait_for_jobs(self, timeout_s: float = 60) -> None:
        """Wait until every job has ended."""
        for state in ("queued", "running"):
            wait_until(
                lambda state=state: not self.api.get(f"/jobs?state={state}&limit=1").json()["jobs"],
                timeout_s,
                f"jobs to leave {state}",
            )
