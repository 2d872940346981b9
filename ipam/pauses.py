"""How long a process stands still by itself."""

from __future__ import annotations

import gc


def shorten_pauses(**_: object) -> None:
    """Have the garbage collector leave alone for good what this process has in memory.

    To be called when everything is loaded and made. Else the collector goes through all modules again every few
    thousand requests, and for these 50 ms the process answers nobody. A signal may call it, whatever that says.
    """
    gc.freeze()
