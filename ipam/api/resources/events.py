"""/events"""

from __future__ import annotations

from collections.abc import Callable

import falcon

from ipam.api.http.media_types import negotiate
from ipam.api.http.query_params import (
    WAIT_MAX_S,
    parameter,
    parse_with,
    refuse_unknown,
    time_parameter,
    whole_number,
)
from ipam.api.http.responses import Json, link_next, render
from ipam.events.cloudevents import cloud_event, sequence_text
from ipam.events.log_reader import EventFilter, parse_subject, parse_type
from ipam.storage.query import LIMIT_DEFAULT, LIMIT_MAX
from ipam.wiring import Services

_SEQUENCE_MAX = 2**63 - 1
_RETRY_AFTER_S = 1
# In the place of a sequence: that of the last event that there is.
_LATEST = "latest"


class EventCollection:
    """The audit log."""

    def __init__(self, services: Services) -> None:
        self._log_reader = services.log_reader

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """List events in the order of their sequence; `?wait=N` waits up to N seconds for one."""
        negotiate(req, "events")
        refuse_unknown(req, "after", "limit", "subject", "type", "actor", "since", "until", "wait")
        wanted = EventFilter(
            after=self._after(parameter(req, "after", "0")),
            limit=whole_number(parameter(req, "limit", str(LIMIT_DEFAULT)), "limit", 1, LIMIT_MAX),
            subject=_spelled(req, "subject", parse_subject),
            type=_spelled(req, "type", parse_type),
            actor=req.params.get("actor"),  # type: ignore[arg-type]  # (given once)
            since=time_parameter(req, "since"),
            until=time_parameter(req, "until"),
        )
        seconds = whole_number(parameter(req, "wait", "0"), "wait", 0, WAIT_MAX_S)
        following = self._log_reader
        page = following.wait(wanted, seconds, req.context.given_up) if seconds else following.page(wanted)
        if page is None:  # Too many wait already.
            page = self._log_reader.page(wanted)
            resp.set_header("Retry-After", str(_RETRY_AFTER_S))
        after = sequence_text(page.after)
        value: Json = {
            "events": [cloud_event(entry, self._log_reader.source) for entry in page.entries],
            "after": after,
        }
        if not page.ended:
            link_next(req, resp, value, after=after)
        render(req, resp, "events", value)

    def _after(self, text: str) -> int:
        if text == _LATEST:
            return self._log_reader.last()
        return whole_number(text, "after", 0, _SEQUENCE_MAX)


def _spelled(req: falcon.Request, name: str, parse: Callable[[str, str], str]) -> str | None:
    return parse_with(parameter(req, name, ""), name, parse) if name in req.params else None
