"""Serving the application with waitress, from the first connection to the last answer."""

from __future__ import annotations

import logging
import resource
import signal
import socket
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from types import FrameType
from typing import Any

import falcon
from waitress import wasyncore
from waitress.server import BaseWSGIServer, create_server

from ipam.api.server.request_threads import RequestThreads
from ipam.api.server.waitress_channel import Channel
from ipam.errors import InvalidSettings
from ipam.util.urls import in_url

log = logging.getLogger(__name__)
# Above the limit of a body, so that one that is over it costs its sender no connection.
_WAITRESS_MAX_BODY_BYTES = 8 * 1024 * 1024
# Idle ones cost a file and some kilobytes each; and files are needed for the database and the broker too.
_CONNECTIONS_MAX = 8192
_OTHER_FILES = 512
_POLL_S = 0.02
_CLOSES_UNUSED_EACH_S = 5


def listen_on(host: str, port: int) -> list[socket.socket]:
    """Sockets that are bound to the *port* of every address that *host* stands for; 0 picks free ones.

    Raises:
        InvalidSettings: If one of them cannot be listened on.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        return [_bound(family, address) for family, _, _, _, address in found]
    except (OSError, UnicodeError) as error:  # The latter of what cannot be the name of a host.
        raise _cannot_listen(f"{host}:{port}", error) from None


def _cannot_listen(where: str, error: Exception) -> InvalidSettings:
    return InvalidSettings(f"Cannot listen on {where}: {error}; choose another --host or --port.")


def _bound(family: int, address: Any) -> socket.socket:
    bound = socket.socket(family, socket.SOCK_STREAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if family == socket.AF_INET6:
        bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    bound.bind(address)
    return bound


class Server:
    """A web process.

    Args:
        sockets: Where it is to listen, as `listen_on` gives them.
        stopping: Is set when no further request is to be taken, which the application has to see to.
        stop_timeout_s: How long requests that have been begun may take from then on, in seconds.

    Raises:
        InvalidSettings: If another process listens there by now.
    """

    def __init__(
        self,
        app: falcon.App[falcon.Request, falcon.Response],
        *,
        sockets: Sequence[socket.socket],
        threads: RequestThreads,
        stopping: threading.Event,
        stop_timeout_s: float,
    ) -> None:
        self._stopping = stopping
        self._told_to_stop = False
        self._leave: Callable[[], None] = lambda: None
        self._stop_timeout_s = stop_timeout_s
        self._sockets: dict[int, Any] = {}
        self._threads = threads
        try:
            self._server = create_server(
                app,
                map=self._sockets,
                sockets=list(sockets),
                _dispatcher=self._threads,
                ident="ipam",
                max_request_body_size=_WAITRESS_MAX_BODY_BYTES,
                clear_untrusted_proxy_headers=True,
                connection_limit=_allow_connections(),
                asyncore_use_poll=True,  # select() knows 1,024 files and no more.
                cleanup_interval=_CLOSES_UNUSED_EACH_S,
                channel_request_lookahead=1,  # So a waiting thread sees that its caller has hung up.
            )
        except OSError as error:  # Another process that had bound it was quicker.
            raise _cannot_listen(":".join(map(str, sockets[0].getsockname()[:2])), error) from None
        # A name may stand for several addresses.
        self._listeners = [one for one in self._sockets.values() if isinstance(one, BaseWSGIServer)]
        for listener in self._listeners:
            listener.channel_class = Channel
            listener.maintenance = partial(_close_unused, listener)
            log.info("serving on http://%s:%s", in_url(listener.effective_host), listener.effective_port)

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return int(self._listeners[0].effective_port)

    def run(self, leave: Callable[[], None] = lambda: None) -> None:
        """Serve until SIGTERM or SIGINT, and then until all that was begun has been answered.

        *leave* is called before anything is refused, to tell others that they shall not come any more.
        """
        self._leave = leave
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        self._server.run()

    def _stop(self, number: int, _frame: FrameType | None) -> None:
        if self._told_to_stop:
            raise SystemExit(128 + number)  # Told a second time.
        self._told_to_stop = True
        # This is the thread of waitress's loop, in the middle of whatever it does.
        threading.Thread(target=self._end, name="stopping", daemon=True).start()

    def _end(self) -> None:
        self._leave()
        self._stopping.set()
        log.info("stopping: requests that have been begun are answered, no further ones are taken")
        self._in_loop(self._refuse_connections)
        deadline = time.monotonic() + self._stop_timeout_s
        while not self._is_quiet():
            if time.monotonic() > deadline:
                log.warning("stopped with requests unanswered after %.0f s", self._stop_timeout_s)
                break
            time.sleep(_POLL_S)
        self._in_loop(self._close_all)

    def _in_loop(self, call: Any) -> None:
        """Have waitress's loop make this *call*: what it looks after is not to be changed under its hands."""
        self._listeners[0].trigger.pull_trigger(call)

    def _refuse_connections(self) -> None:
        for listener in self._listeners:
            listener.del_channel()
            listener.socket.close()

    def _close_all(self) -> None:
        for channel in self.channels:
            channel.handle_close()
        wasyncore.close_all(self._sockets)  # With nothing left to look after the loop ends.

    @property
    def channels(self) -> list[Channel]:
        """The connections that are open."""
        return [one for one in list(self._sockets.values()) if isinstance(one, Channel)]

    def _is_quiet(self) -> bool:
        return self._threads.is_idle and not any(channel.total_outbufs_len for channel in self.channels)


def _close_unused(listener: BaseWSGIServer, _now: float) -> None:
    """Close connections without a request for long, as waitress does, and those whose callers take no answer.

    waitress marks the latter for its loop to close, which waits with that until there is room to send; and spares
    those with further requests, each of which has a thread wait for that room.
    """
    silent_since = time.time() - listener.adj.channel_timeout
    for channel in list(listener.active_channels.values()):
        if channel.is_stuck:
            channel.cut_off()
        elif not channel.requests and channel.last_activity < silent_since:
            channel.will_close = True


def _allow_connections() -> int:
    """Return how many connections there may be, after raising the process's limit of open files."""
    wanted = _CONNECTIONS_MAX + _OTHER_FILES
    files, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if files == resource.RLIM_INFINITY or files >= wanted:
        return _CONNECTIONS_MAX
    files = wanted if most == resource.RLIM_INFINITY else min(wanted, most)
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, most))
    return max(files - _OTHER_FILES, files // 2)
