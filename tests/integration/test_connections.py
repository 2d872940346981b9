"""What comes in over a socket, HTTP or not, and who keeps it open."""

import json
import resource
import socket
from contextlib import ExitStack
from urllib.parse import urlsplit

import pytest

from tests.support.stack import Api

MEGABYTE = 1024 * 1024


def connect(api: Api) -> socket.socket:
    url = urlsplit(api.url)
    return socket.create_connection((url.hostname, url.port), timeout=20)


def answered(connection: socket.socket) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body of what comes until the other side closes."""
    received = b""
    while data := connection.recv(65536):
        received += data
    head, _, body = received.partition(b"\r\n\r\n")
    status, *lines = head.decode().split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines)
    return int(status.split(" ")[1]), headers, body


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        (b"what is this\r\n\r\n", (400, "malformed-request")),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", (400, "malformed-request")),
        (b"GET /pools HTTP/1.1\r\nHost 127.0.0.1\r\n\r\n", (400, "malformed-request")),
        (b"POST /pools HTTP/1.1\r\nContent-Length: many\r\n\r\n", (400, "malformed-request")),
        (b"POST /pools HTTP/1.1\r\nContent-Length: %s\r\n\r\n" % (b"9" * 5000), (400, "malformed-request")),
        (b"POST /pools HTTP/1.1\r\nContent-Length: %s\r\n\r\n" % (b"9" * 24), (413, "too-large")),
        (
            b"POST /pools HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: %s\r\n\r\n" % (b"9" * 24),
            (413, "too-large"),
        ),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", (400, "malformed-request")),
        (b"POST /pools HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n\r\n", (400, "malformed-request")),
        (b"POST /pools HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n", (501, "not-implemented")),
        (b"GET /pools HTTP/1.1\r\nX-Long: %s\r\n\r\n" % (b"x" * 300_000), (431, "headers-too-large")),
        (
            b"POST /pools HTTP/1.1\r\nContent-Length: %d\r\n\r\n%s" % (20 * MEGABYTE, b"x" * 20 * MEGABYTE),
            (413, "too-large"),
        ),
        (
            b"POST /pools HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n"
            % (20 * MEGABYTE, b"x" * 20 * MEGABYTE),
            (413, "too-large"),
        ),
    ],
    ids=lambda value: str(value)[:40],
)
def test_malformed_http_is_answered_with_a_problem(api: Api, sent, expected):
    """Also one whose sender has not come to the end of it when the answer is clear."""
    with connect(api) as connection:
        connection.sendall(sent)
        status, headers, body = answered(connection)
    problem = json.loads(body)
    assert (status, problem["type"].removeprefix("/problems/")) == expected
    assert headers["Content-Type"] == "application/problem+json"
    assert headers["X-Request-Id"] == problem["request_id"]
    assert problem["detail"]


@pytest.mark.parametrize(
    ("host", "path", "status"),
    [
        ("Host: LOCALHOST:8000", "/pools", 200),
        ("Host: [::1]:8000", "/pools", 200),
        ("Host: 127.0.0.1", "/pools", 200),
        ("Host: attacker.example", "/pools", 400),
        ("Host: 127.0.0.1.attacker.example:8000", "/pools", 400),
        ("Host: ", "/pools", 400),
        ("Accept: */*", "/pools", 400),
        ("Host: 192.0.2.7:8000", "/livez", 200),
        ("Host: 192.0.2.7:8000", "/readyz", 200),
    ],
)
def test_host_header_of_another_name_is_refused(api: Api, host, path, status):
    """A page in a browser cannot reach it by a name of its own that leads here; a probe may call it as it likes."""
    with connect(api) as connection:
        connection.sendall(f"GET {path} HTTP/1.1\r\n{host}\r\nConnection: close\r\n\r\n".encode())
        assert answered(connection)[0] == status


@pytest.mark.parametrize("more", ["Expect: 100-continue", "Upgrade: h2c", "Connection: close, Upgrade"])
def test_a_request_that_hopes_for_more_is_answered_as_any_other(api: Api, more: str):
    with connect(api) as connection:
        connection.sendall(f"GET /livez HTTP/1.1\r\nHost: localhost\r\n{more}\r\n\r\n".encode())
        with connection.makefile("rb") as received:
            assert received.readline() == b"HTTP/1.1 200 OK\r\n"
            headers = iter(received.readline, b"\r\n")
            (length,) = (int(line.split(b": ")[1]) for line in headers if line.startswith(b"Content-Length"))
            assert json.loads(received.read(length)) == {"status": "ok"}


def test_connections_that_send_nothing_are_in_nobodys_way(api: Api):
    """Nor those that begin a request and do not come to its end."""
    soft, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    count = 2000 if most == resource.RLIM_INFINITY else min(2000, most // 4)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, count + 500), most))
    with ExitStack() as stack:
        for number in range(count):
            connection = stack.enter_context(connect(api))
            if number % 2:
                connection.sendall(b"POST /pools HTTP/1.1\r\nContent-Len")
        assert api.get("/livez").status_code == 200
        assert api.pool(name="all the same")["name"] == "all the same"
