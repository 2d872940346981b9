"""SIGTERM, and callers who hang up, at a web process of their own."""

import http.client
import json
import os
import select
import signal
import socket
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import wait as wait_for_futures
from contextlib import ExitStack

import pytest

from ipam.embedded.processes import mongo_uri
from tests.integration.test_connections import connect
from tests.support import servers
from tests.support.servers import wait_until
from tests.support.stack import Stack

# As many threads that five requests may wait.
THREADS = "8"


@pytest.fixture
def stopping_database(tmp_path):
    process = servers.database(tmp_path)
    process.start()
    yield process
    process.stop()


@pytest.fixture
def stack(database, redis_url, tmp_path):
    """Has a web process, which runs, and a worker, which does not."""
    stack = Stack(database, redis_url, tmp_path, IPAM_THREADS=THREADS)
    stack.web.start()
    yield stack
    stack.stop()


def ask(connection: socket.socket, path: str) -> tuple[int, dict]:
    """Status and body of GET *path* on an open connection."""
    send(connection, path)
    return hear(connection)


def send(connection: socket.socket, path: str) -> None:
    connection.sendall(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: application/json\r\n\r\n".encode())


def hear(connection: socket.socket) -> tuple[int, dict]:
    answer = http.client.HTTPResponse(connection)
    answer.begin()
    return answer.status, json.loads(answer.read())


def test_waiting_caller_is_told_which_job_to_poll_when_the_web_process_stops(stack):
    """No answer is lost, and the process ends without a fault."""
    subnet = stack.api.subnet(cidr="10.0.0.0/24")
    with ThreadPoolExecutor(1) as threads, connect(stack.api) as following:
        path = f"/subnets/{subnet['id']}/reservations"
        waits = threads.submit(stack.api.post, path, headers={"Prefer": "wait=60"})
        wait_until(lambda: stack.api.get("/jobs").json()["jobs"], 20, "the request to be a job")
        send(following, "/events?after=latest&wait=60")
        for _ in range(3):  # Over open connections requests are taken up in the order of their coming.
            assert stack.api.get("/").status_code == 200
        assert stack.web.stop() == 0
        answer = waits.result()
        assert (answer.status_code, answer.json()["state"]) == (202, "queued")
        assert answer.headers["Location"] == f"/jobs/{answer.json()['id']}"
        assert hear(following)[1]["events"] == []


def test_stopping_web_process_answers_what_it_has_begun_and_begins_nothing(stopping_database, redis_url, tmp_path):
    """The database holds its breath meanwhile, so that there is something to wait for."""
    stack = Stack(mongo_uri(stopping_database.part.port), redis_url, tmp_path)
    stack.web.start()
    stack.api.pool(name="before")
    with connect(stack.api) as open_connection, connect(stack.api) as begun:
        for connection in (open_connection, begun):
            assert ask(connection, "/livez") == (200, {"status": "ok"})
        with stopping_database.paused():
            send(begun, "/pools")
            for _ in range(3):
                assert ask(open_connection, "/")[0] == 200
            os.kill(stack.web.pid, signal.SIGTERM)
            wait_until(lambda: ask(open_connection, "/readyz")[0] == 503, 20, "it to be ready no more")
            assert ask(open_connection, "/pools")[1]["type"] == "/problems/unavailable"
            assert ask(open_connection, "/livez")[0] == 200
            with pytest.raises(ConnectionRefusedError):
                connect(stack.api)
        answer = hear(begun)
    assert [pool["name"] for pool in answer[1]["pools"]] == ["before"]
    assert stack.web.stop() == 0
    stack.stop()


def test_stopping_web_process_gives_up_a_request_that_does_not_end(stopping_database, redis_url, tmp_path):
    stack = Stack(mongo_uri(stopping_database.part.port), redis_url, tmp_path, IPAM_STOP_TIMEOUT_S="0.2")
    stack.web.start()
    with connect(stack.api) as connection:
        assert ask(connection, "/livez")[0] == 200
        with stopping_database.paused():
            send(connection, "/pools")
            for _ in range(3):
                assert stack.api.get("/").status_code == 200
            assert stack.web.stop() == 0
    stack.stop()


def test_callers_who_hang_up_give_their_places_back(stack):
    """All places to wait are taken by callers who hang up; one who comes after them waits, and gets his answer."""
    subnet = stack.api.subnet(cidr="10.0.0.0/24")
    path = f"/subnets/{subnet['id']}/reservations"
    headers = "Host: 127.0.0.1\r\nContent-Type: application/json\r\nPrefer: wait=60\r\nContent-Length: 2"
    with ExitStack() as connections:
        callers: list[socket.socket] = []

        def all_places_are_taken() -> bool:
            """Whether somebody is answered at once."""
            callers.append(connections.enter_context(connect(stack.api)))
            callers[-1].sendall(f"POST {path} HTTP/1.1\r\n{headers}\r\n\r\n{{}}".encode())
            return bool(select.select(callers, [], [], 0.5)[0])

        wait_until(all_places_are_taken, 20, "a caller who finds no place")
    with ThreadPoolExecutor(1) as threads:
        answers: list[Future] = []

        def waits() -> bool:
            """Whether a request is not answered at once."""
            answers.append(threads.submit(stack.api.post, path, headers={"Prefer": "wait=60"}))
            return not wait_for_futures(answers[-1:], timeout=2).done

        wait_until(waits, 20, "a place to wait")
        stack.workers[0].start()
        assert answers[-1].result().status_code == 201
