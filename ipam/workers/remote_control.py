"""Celery's remote control, restricted to commands that only show something."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from celery.worker.control import Panel

log = logging.getLogger(__name__)
# What shows how a worker is doing, to Flower, `ipam health` and `/status`. Flower also has it tell of its tasks.
_SHOWN = frozenset(
    {
        *("ping", "stats", "conf", "report", "clock", "active_queues", "registered"),
        *("active", "reserved", "scheduled", "revoked", "enable_events", "disable_events"),
    }
)


def only_show() -> None:
    """Have the worker of this process refuse every command that would change what it does, end it or look into it.

    Celery's own setting turns all commands off, so that not even a ping is answered.
    """
    for name in Panel.data.keys() - _SHOWN:
        Panel.data[name] = _refusing(name)


def _refusing(name: str) -> Callable[..., dict[str, str]]:
    def refuse(_state: object, **_arguments: Any) -> dict[str, str]:
        log.warning("%s was asked for over the broker and is refused: --remote-control is not given", name)
        return {"error": "refused: the worker runs without --remote-control"}

    return refuse
