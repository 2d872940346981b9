"""Where a web process listens, and how its answers go out."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress

import falcon
import pytest
from waitress.adjustments import Adjustments
from waitress.server import BaseWSGIServer

from ipam.api.server.request_threads import RequestThreads
from ipam.api.server.waitress_channel import Channel
from ipam.api.server.wsgi_server import Server, listen_on
from ipam.errors import InvalidSettings
from tests.support.servers import wait_until

MEGABYTE = 1024 * 1024


def test_a_host_that_cannot_be_listened_on_is_named():
    host = "x" * 70  # Too long to be looked up anywhere.
    with pytest.raises(InvalidSettings, match=f"Cannot listen on {host}:80: .*choose another --host"):
        listen_on(host, 80)


def test_port_that_another_listens_on_is_refused_though_it_could_be_bound(monkeypatch):
    """Between binding and listening lies the wait for the database."""
    (quicker,) = listen_on("127.0.0.1", 0)
    port = quicker.getsockname()[1]
    (later,) = listen_on("127.0.0.1", port)
    quicker.listen()
    monkeypatch.setattr("ipam.api.server.wsgi_server.create_server", lambda *_, **__: later.listen())
    with quicker, later, pytest.raises(InvalidSettings, match=f"Cannot listen on 127.0.0.1:{port}: "):
        Server(
            falcon.App(),
            sockets=[later],
            threads=RequestThreads(4, ()),
            stopping=threading.Event(),
            stop_timeout_s=1,
        )


class Pieces:
    """Answers with a piece that no socket takes at once; when that has come, with others, and the last has to wait.

    For waitress has whoever answers wait while it keeps more than 16 MiB.
    """

    sizes = (16 * MEGABYTE, 40 * MEGABYTE, MEGABYTE)

    def __init__(self) -> None:
        self.first_has_come = threading.Event()
        self.last_is_next = threading.Event()
        self.last_waits = threading.Event()

    def on_get(self, _req: falcon.Request, resp: falcon.Response, path: str) -> None:
        if path != "pieces":
            raise falcon.HTTPNotFound
        resp.stream, resp.content_length = self._pieces(), sum(self.sizes)

    def _pieces(self) -> Iterator[bytes]:
        first, second, last = (bytes([number]) * size for number, size in enumerate(self.sizes))
        yield first
        assert self.first_has_come.wait(20)
        yield second
        self.last_is_next.set()
        yield last


@pytest.fixture
def pieces() -> Pieces:
    return Pieces()


@pytest.fixture
def connection(monkeypatch: pytest.MonkeyPatch, pieces: Pieces) -> Iterator[socket.socket]:
    """To a server whose loop, if nobody wakes it, sleeps for longer than anybody waits here."""
    monkeypatch.setattr(Adjustments, "asyncore_loop_timeout", 300)
    wake, look, has_looked = BaseWSGIServer.pull_trigger, BaseWSGIServer.readable, threading.Event()

    def look_and_say_so(server: BaseWSGIServer) -> bool:
        has_looked.set()
        return look(server)

    def wake_and_wait(server: BaseWSGIServer) -> None:
        """Go on when the loop has looked."""
        has_looked.clear()
        wake(server)
        assert has_looked.wait(20)
        if pieces.last_is_next.is_set():
            pieces.last_waits.set()

    monkeypatch.setattr(BaseWSGIServer, "readable", look_and_say_so)
    monkeypatch.setattr(BaseWSGIServer, "pull_trigger", wake_and_wait)
    with serving(pieces) as server, socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
        yield connection


@contextmanager
def serving(resource: object) -> Iterator[Server]:
    """A server that answers with *resource*, in four threads and one for /apart."""
    app = falcon.App()
    app.req_options.strip_url_path_trailing_slash = True
    app.add_route("/{path}", resource)
    listening = listen_on("127.0.0.1", 0)
    server = Server(
        app, sockets=listening, threads=RequestThreads(4, ["/apart"]), stopping=threading.Event(), stop_timeout_s=20
    )
    loop = threading.Thread(target=server._server.run)  # noqa: SLF001 (`run` is for a main thread)
    loop.start()
    yield server
    server._end()  # noqa: SLF001
    loop.join(20)
    assert not loop.is_alive()


def test_an_answer_that_is_sent_in_parts_reaches_its_end(connection: socket.socket, pieces: Pieces):
    connection.sendall(b"GET /pieces HTTP/1.1\r\nHost: here\r\n\r\n")
    with connection.makefile("rb") as received:
        while received.readline().strip():
            pass
        first, *rest = (bytes([number]) * size for number, size in enumerate(pieces.sizes))
        assert received.read(len(first)) == first
        pieces.first_has_come.set()
        assert pieces.last_waits.wait(20)
        assert received.read(sum(map(len, rest))) == b"".join(rest)


def test_the_loop_sleeps_while_an_answer_is_sent(connection: socket.socket, monkeypatch: pytest.MonkeyPatch):
    """Were it to ask whether there is room to send, it would be told so at once, again and again."""
    looks: list[Channel] = []
    look, send = Channel.readable, Channel.send

    def count(channel: Channel) -> bool:
        looks.append(channel)
        return look(channel)

    def send_slowly(channel: Channel, *args: object, **kwargs: object) -> int:
        channel.server.pull_trigger()  # As another request does that has been answered.
        time.sleep(0.1)  # In which a loop that has been told of nothing sleeps.
        return send(channel, *args, **kwargs)

    monkeypatch.setattr(Channel, "readable", count)
    monkeypatch.setattr(Channel, "send", send_slowly)
    connection.sendall(b"GET /nothing HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n")
    with connection.makefile("rb") as received:
        assert received.readline().startswith(b"HTTP/1.1 404")
        received.read()
    assert 0 < len(looks) < 20


class Patience:
    """Answers under one path at once, and elsewhere when it is let."""

    def __init__(self) -> None:
        self.begun = threading.Semaphore(0)
        self.goes_on = threading.Event()

    def on_get(self, _req: falcon.Request, _resp: falcon.Response, path: str) -> None:
        if path != "apart":
            self.begun.release()
            assert self.goes_on.wait(20)


def test_a_path_with_a_thread_of_its_own_is_answered_while_all_others_wait():
    patience = Patience()
    with serving(patience) as server, ExitStack() as open_:

        def ask(path: str) -> socket.socket:
            connection = open_.enter_context(socket.create_connection(("127.0.0.1", server.port), timeout=20))
            connection.sendall(f"GET {path} HTTP/1.1\r\nHost: here\r\n\r\n".encode())
            return connection

        waiting = [ask("/other") for _ in range(6)]
        for _ in range(4):
            assert patience.begun.acquire(timeout=20)
        for path in ("/apart", "/apart/", "/apart?verbose"):
            assert ask(path).recv(100).startswith(b"HTTP/1.1 200")
        assert not patience.begun.acquire(blocking=False)
        patience.goes_on.set()
        assert all(connection.recv(100).startswith(b"HTTP/1.1 200") for connection in waiting)


class Pages:
    """Answers with pages that no socket takes at once."""

    size = 24 * MEGABYTE

    def on_get(self, _req: falcon.Request, resp: falcon.Response, path: str) -> None:
        resp.data = b"x" * (0 if path == "little" else self.size)


@pytest.fixture
def served() -> Iterator[Server]:
    with serving(Pages()) as server:
        yield server


@pytest.fixture
def ask(served: Server) -> Iterator[Callable[[str], socket.socket]]:
    """Asks for a path, so many times, and takes nothing of the answer."""
    with ExitStack() as open_:

        def ask_for(path: str, times: int = 1) -> socket.socket:
            connection = open_.enter_context(socket.create_connection(("127.0.0.1", served.port), timeout=20))
            connection.sendall(f"GET {path} HTTP/1.1\r\nHost: here\r\n\r\n".encode() * times)
            return connection

        yield ask_for


def received(connection: socket.socket) -> int:
    """How much comes of a page before the connection ends, or all of it has come."""
    count = 0
    with suppress(ConnectionResetError):
        while count < Pages.size and (piece := connection.recv(MEGABYTE)):
            count += len(piece)
    return count


def unsent(server: Server) -> list[int]:
    return [channel.total_outbufs_len for channel in server.channels]


def test_callers_who_take_nothing_of_their_answers_are_cut_off_and_hold_no_thread(served, ask, monkeypatch):
    monkeypatch.setattr("ipam.api.server.waitress_channel.UNSENT_MAX_BYTES", 100 * Pages.size)
    monkeypatch.setattr(BaseWSGIServer, "next_channel_cleanup", property(lambda _: 0, lambda *_: None))
    for _ in range(4):
        ask("/page", 5)
    # Each of the four threads waits for room to answer its caller's next request.
    wait_until(lambda: sum(count > 16 * MEGABYTE for count in unsent(served)) == 4, 20, "the threads to wait")
    monkeypatch.setattr("ipam.api.server.waitress_channel.TAKES_NOTHING_MAX_S", 0.5)
    assert ask("/little").recv(100).startswith(b"HTTP/1.1 200")
    wait_until(lambda: sum(unsent(served)) == 0, 20, "the others to be cut off")


def test_unsent_answers_are_bounded_in_sum(served, ask, monkeypatch):
    monkeypatch.setattr("ipam.api.server.waitress_channel.UNSENT_MAX_BYTES", 2 * Pages.size)
    slow = [ask("/page") for _ in range(6)]
    assert all(connection.recv(1) == b"H" for connection in slow)
    # Until the last of their answers is written, which makes room too, and may take it from the next caller.
    wait_until(lambda: served._threads.is_idle, 20, "the answers to be written")  # noqa: SLF001
    wait_until(lambda: sum(unsent(served)) <= 2 * Pages.size, 20, "room to be made")
    assert received(ask("/page")) >= Pages.size  # Whoever takes what comes is not cut off.
    assert sum(received(connection) < Pages.size for connection in slow) in (3, 4, 5)
