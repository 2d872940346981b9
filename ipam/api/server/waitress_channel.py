"""A connection as waitress serves it, with problems by RFC 9457 for what never reaches the application."""

from __future__ import annotations

import logging
import socket
import time
from http import HTTPStatus
from uuid import uuid4

from waitress.channel import HTTPChannel
from waitress.parser import HTTPRequestParser, ParsingError
from waitress.task import ErrorTask

from ipam.api.http.media_types import too_large
from ipam.api.http.problems import MEDIA_TYPE, problem_bytes
from ipam.api.middleware.browser_security import SAFE_HEADERS

log = logging.getLogger(__name__)
# What is kept of answers that their callers do not take, for all connections to an address together.
UNSENT_MAX_BYTES = 64 * 1024 * 1024
# A caller that takes nothing of an answer for so long is gone.
TAKES_NOTHING_MAX_S = 30.0
_SLUGS = {
    HTTPStatus.BAD_REQUEST: "malformed-request",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "too-large",
    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE: "headers-too-large",
    HTTPStatus.NOT_IMPLEMENTED: "not-implemented",
    HTTPStatus.INTERNAL_SERVER_ERROR: "internal",
}
_VERSIONS = ("1.0", "1.1")


class ProblemTask(ErrorTask):  # type: ignore[misc]  # (waitress has no types)
    """Answers what waitress refuses by itself."""

    def execute(self) -> None:
        """Write the answer, after which the connection closes: where the next request begins is not known."""
        error, request_id = self.request.error, uuid4().hex
        detail, facts = f"{error.body.rstrip('.')}.", {}
        if error.code == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
            detail, facts = too_large().detail, too_large().facts  # The body's limit, and not waitress's.
        body = problem_bytes(_SLUGS[error.code], detail, facts, request_id)
        self.status = f"{error.code} {error.reason}"
        self.response_headers += [("Content-Type", MEDIA_TYPE), ("X-Request-Id", request_id), *SAFE_HEADERS.items()]
        self.content_length = len(body)
        self.set_close_on_finish()
        self.channel.lingers_at_end = True
        self.write(body)


class Parser(HTTPRequestParser):  # type: ignore[misc]  # (waitress has no types)
    """waitress's parser, which refuses what it would take for something else, or give up on without an answer."""

    def parse_header(self, header_plus: bytes) -> None:
        """Read the head of a request.

        Raises:
            ParsingError: If it is none.
        """
        try:
            super().parse_header(header_plus)
        except ValueError:  # Of thousands of digits, which Python reads no number from.
            raise ParsingError("Content-Length is invalid") from None
        if self.version not in _VERSIONS:
            raise ParsingError(f"HTTP {self.version} is not spoken here")


class Channel(HTTPChannel):  # type: ignore[misc]  # (waitress has no types)
    """A connection that waitress's loop leaves alone while an answer is sent, and that lingers after a refusal.

    Closing at once would lose the answer for a caller that still sends. So only our half is closed, and input is
    discarded until the caller closes its half, or has been silent for waitress's `channel_timeout`.

    Attributes:
        taken_at: When the caller last took something of an answer, or a new one began, on the monotonic clock.
        is_being_cut_off: Whether the loop is about to close it, so that it counts no more and is chosen once.
    """

    error_task_class = ProblemTask
    parser_class = Parser
    close_when_flushed: bool
    will_close: bool
    lingers_at_end = False
    taken_at = 0.0
    is_being_cut_off = False
    _lingers = False
    _is_sending = False

    def send_continue(self) -> None:
        """Ask for the body, as `Expect: 100-continue` wants it.

        But not of a request that is complete without one, or refused: waitress would wait for it for ever.
        """
        if not self.request.completed:
            super().send_continue()

    def write_soon(self, data: bytes) -> int:
        """Send what the caller takes of *data* at once, in the request's thread; the loop sends the rest."""
        self._is_sending = True
        self.taken_at = time.monotonic()
        try:
            return int(super().write_soon(data))
        finally:
            self._is_sending = False
            if self.total_outbufs_len:
                self._make_room()
                self.server.pull_trigger()

    def send(self, data: bytes, do_close: bool = True) -> int:  # noqa: FBT001, FBT002 (as waitress has it)
        """Send what the caller takes of *data*, and return how much that is."""
        sent = int(super().send(data, do_close))
        if sent:
            self.taken_at = time.monotonic()
        return sent

    @property
    def is_stuck(self) -> bool:
        """Whether its caller has taken nothing of an answer for too long."""
        return bool(self.total_outbufs_len) and time.monotonic() - self.taken_at > TAKES_NOTHING_MAX_S

    def _make_room(self) -> None:
        """Close connections, first those that have taken nothing for longest, until not too much is unsent.

        This one comes last: its caller is given something just now, and has had no time to take it.
        """
        open_ = [one for one in list(self.server.active_channels.values()) if not one.is_being_cut_off]
        slow = [one for one in open_ if one.total_outbufs_len]
        excess = sum(one.total_outbufs_len for one in slow) - UNSENT_MAX_BYTES
        for one in sorted(slow, key=lambda channel: (channel is self, channel.taken_at)):
            if excess <= 0:
                break
            excess -= one.total_outbufs_len
            one.is_being_cut_off = True
            self.server.trigger.pull_trigger(one.cut_off)

    def cut_off(self) -> None:
        """Close it if there is something unsent still; for waitress's loop, which alone may close connections."""
        self.is_being_cut_off = False
        if self.total_outbufs_len:
            log.info("%s was cut off: it took too little of its answer", self.addr[0])
            self.handle_close()

    def writable(self) -> bool:
        """Return whether waitress's loop is to send when there is room.

        Not while the request's thread does. There mostly is room, so the loop would be told so again and again, and
        each time take the interpreter from that thread. Above the mark that thread waits for the loop.
        """
        is_left_alone = self._is_sending and self.total_outbufs_len <= self.adj.outbuf_high_watermark
        return bool(self.will_close or (super().writable() and not is_left_alone))

    def readable(self) -> bool:
        """Return whether to look for what the caller sends."""
        return self._lingers or super().readable()

    def received(self, data: bytes) -> bool:
        """Take what the caller sent."""
        return not self._lingers and super().received(data)

    def handle_write(self) -> None:
        """Send what there is to send, and close the connection when nothing is to follow."""
        if self.close_when_flushed and self.lingers_at_end:
            self._flush_exception(self._flush_some)
            if not self.total_outbufs_len and self.connected:
                self.close_when_flushed = False
                self._lingers = True
                self.socket.shutdown(socket.SHUT_WR)
        else:
            super().handle_write()
