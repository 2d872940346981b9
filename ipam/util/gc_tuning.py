"""Tuning of the garbage collector."""

from __future__ import annotations

import gc


def freeze_gc(**_: object) -> None:
    """Exempt everything that is in memory now from garbage collection.

    To be called when all modules are loaded and all services made. Otherwise the collector goes through them every
    few thousand requests, and stops the process for 50 ms each time. The arguments of a Celery signal are ignored.
    """
    gc.freeze()
