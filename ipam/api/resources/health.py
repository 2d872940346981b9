"""/livez, /readyz and /status"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from typing import Generic, TypeVar

import falcon

from ipam import __version__
from ipam.api.http.query_params import refuse_unknown
from ipam.api.http.responses import Json, render_plain
from ipam.errors import Transient

log = logging.getLogger(__name__)
T = TypeVar("T")
# A result is given to all requests within this time: probes cost the same, however many there are.
_KEPT_S = 1.0
# They are answered however many requests wait for something: each by a thread that others never take.
ROUTES = ("/livez", "/readyz", "/status")
OK = "ok"
# A part that is not wanted is no reason to worry.
FINE = (OK, "none")


class Live:
    """Liveness: the process answers, without asking any other."""

    def on_get(self, _req: falcon.Request, resp: falcon.Response) -> None:
        """Say so."""
        render_plain(resp, {"status": OK})


class Ready:
    """Readiness: the database takes a write and the broker a message.

    Args:
        parts: By name, what raises `Transient` when that part cannot be used.
    """

    def __init__(self, parts: Mapping[str, Callable[[], None]]) -> None:
        self._states = Kept(lambda: {name: _state(name, check) for name, check in parts.items()})

    def on_get(self, _req: falcon.Request, resp: falcon.Response) -> None:
        """Say so, or name the parts that cannot be used."""
        states = self._states.get()
        faults = [f"{name} ({state.rstrip('.')})" for name, state in states.items() if state != OK]
        if faults:
            raise Transient(f"Out of reach: {', '.join(faults)}.", parts=states)
        render_plain(resp, {"status": OK, "parts": states})


class Status:
    """The state of all parts of the installation, as far as this process can tell.

    Args:
        parts: By name, what returns the state of that part with its `status`; a `Transient` is its fault.
        hooks: What returns the hooks that are declared.
    """

    def __init__(self, parts: Mapping[str, Callable[[], Json]], hooks: Callable[[], list[Json]]) -> None:
        self._hooks = hooks
        self._states = Kept(lambda: {name: state_of(name, look) for name, look in parts.items()})

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Show it; 200 whatever is found, for it is a report."""
        refuse_unknown(req)
        states = self._states.get()
        is_ok = all(state["status"] in FINE for state in states.values())
        shown = {"status": OK if is_ok else "degraded", "version": __version__, "parts": states}
        render_plain(resp, {**shown, "hooks": self._hooks()})


def checked(check: Callable[[], None]) -> Callable[[], Json]:
    """Return what shows as a state whether *check* raises `Transient`."""

    def look() -> Json:
        check()
        return {"status": OK}

    return look


class Kept(Generic[T]):
    """The value of *find*, kept for some seconds; one thread at a time refreshes it."""

    def __init__(self, find: Callable[[], T], kept_s: float = _KEPT_S) -> None:
        self._find = find
        self._kept_s = kept_s
        self._lock = threading.Lock()
        self._found: tuple[float, T] | None = None

    def get(self) -> T:
        """Return the value, as it is or was some seconds ago."""
        with self._lock:
            if self._found is None or time.monotonic() - self._found[0] > self._kept_s:
                found = self._find()
                self._found = time.monotonic(), found
            return self._found[1]


def _state(name: str, check: Callable[[], None]) -> str:
    state = state_of(name, checked(check))
    return str(state.get("detail", OK))


def state_of(name: str, look: Callable[[], Json]) -> Json:
    """Return the state of the part *name*, as *look* finds it, or why it cannot be found."""
    try:
        return look()
    except Transient as error:
        return {"status": "away", "detail": error.detail}
    except Exception as error:
        log.exception("the state of the part %s cannot be told", name)
        return {"status": "failing", "detail": f"It fails with {type(error).__name__}; the log says more."}
