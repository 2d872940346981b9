"""The Prefer header (RFC 7240): respond-async and wait."""

from __future__ import annotations

from dataclasses import dataclass

import falcon

from ipam.api.http.query_params import WAIT_MAX_S, whole_number

WAIT_DEFAULT_S = 10


@dataclass(frozen=True, slots=True)
class WaitPreference:
    """How many seconds the caller waits for an answer, and the preference that said so."""

    seconds: int
    applied: str | None = None


def parse_prefer(req: falcon.Request) -> WaitPreference:
    """Return what the caller prefers; preferences that are not known here are ignored, as the RFC asks.

    Raises:
        InvalidParameter: If `wait` is not a number of seconds.
    """
    wishes: dict[str, str] = {}
    for part in (req.get_header("Prefer") or "").split(","):
        name, _, value = part.partition(";")[0].partition("=")
        wishes.setdefault(name.strip().lower(), value.strip().strip('"'))
    applied = []
    seconds = WAIT_DEFAULT_S
    if "respond-async" in wishes:
        seconds = 0
        applied.append("respond-async")
    if "wait" in wishes:
        seconds = min(whole_number(wishes["wait"], "Prefer: wait", 0, 10**9 - 1), WAIT_MAX_S)
        applied.append(f"wait={seconds}")
    return WaitPreference(seconds, ", ".join(applied) or None)
