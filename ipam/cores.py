"""Processes of many threads, each kept to one core.

Of a Python process one thread runs at a time, so that a second core gains it nothing. But threads that are spread
over several wake a core whenever one hands over to the next, and that can cost more than what they do.
"""

from __future__ import annotations

import os
import random
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path


def quiet_cores() -> list[int]:
    """The cores that this process may use, those first that the fewest processes are kept to; of equals, any.

    Empty where the system keeps no process to a core, as on macOS.
    """
    if not hasattr(os, "sched_getaffinity"):
        return []
    cores = list(os.sched_getaffinity(0))
    random.shuffle(cores)  # Processes in other containers are not seen; they shall not all choose the same.
    kept = processes_by_core()
    return sorted(cores, key=lambda core: kept[core])


def keep_to_one(cores: Sequence[int], place: int = 0, pid: int = 0) -> None:
    """Keep the process *pid*, 0 being this one, to one of *cores*, if any: that at *place*, counted round.

    To be called before it has a second thread: those that it begins later stay where the first one is.
    """
    if cores:
        with suppress(OSError):  # It has ended, or this is not allowed here.
            os.sched_setaffinity(pid, {cores[place % len(cores)]})


def processes_by_core() -> Counter[int]:
    """How many processes are kept to each core and no other, those of the kernel left out."""
    counted: Counter[int] = Counter()
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # It has just ended.
            cores = os.sched_getaffinity(int(folder.name))
            if len(cores) == 1 and (folder / "cmdline").read_bytes():
                counted.update(cores)
    return counted
