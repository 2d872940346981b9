"""/livez and /readyz"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import falcon

from ipam.api.rendering import render_plain
from ipam.errors import Transient


class Live:
    """Whether this process answers at all; it asks nobody else."""

    def on_get(self, _req: falcon.Request, resp: falcon.Response) -> None:
        """Say so."""
        render_plain(resp, {"status": "ok"})


class Ready:
    """Whether this process can do its work.

    Args:
        parts: By name, what raises `Transient` when that part is out of reach.
    """

    def __init__(self, parts: Mapping[str, Callable[[], None]]) -> None:
        self._parts = parts

    def on_get(self, _req: falcon.Request, resp: falcon.Response) -> None:
        """Say so, or name the parts that are out of reach."""
        faults = {name: fault for name, check in self._parts.items() if (fault := _fault(check))}
        states = {name: faults.get(name, "ok") for name in self._parts}
        if faults:
            raise Transient(f"Out of reach: {', '.join(faults)}.", parts=states)
        render_plain(resp, {"status": "ok", "parts": states})


def _fault(check: Callable[[], None]) -> str | None:
    try:
        check()
    except Transient as error:
        return error.detail
    return None
