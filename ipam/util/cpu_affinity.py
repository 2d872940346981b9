"""CPU affinity: each process of many threads is pinned to one CPU.

One thread of a Python process runs at a time, so a second CPU gains it nothing. But threads that are spread over
several wake a CPU whenever one hands over to the next, which can cost more than their work.
"""

from __future__ import annotations

import os
import random
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path


def least_used_cpus() -> list[int]:
    """Return the CPUs that this process may use, those with the fewest pinned processes first; equals are shuffled.

    Empty where the system cannot pin processes, as on macOS.
    """
    if not hasattr(os, "sched_getaffinity"):
        return []
    cpus = list(os.sched_getaffinity(0))
    random.shuffle(cpus)  # Processes in other containers are not seen; they shall not all choose the same one.
    pinned = pinned_processes()
    return sorted(cpus, key=lambda cpu: pinned[cpu])


def pin_to_cpu(cpus: Sequence[int], index: int = 0, pid: int = 0) -> None:
    """Pin the process *pid*, 0 being this one, to that of *cpus* at *index*, modulo their number; to none if empty.

    To be called before the process has a second thread: threads that start later inherit the CPU.
    """
    if cpus:
        with suppress(OSError):  # The process has ended, or this is not allowed here.
            os.sched_setaffinity(pid, {cpus[index % len(cpus)]})


def pinned_processes() -> Counter[int]:
    """Count the processes that are pinned to each CPU, without those of the kernel."""
    counted: Counter[int] = Counter()
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # The process has just ended.
            cpus = os.sched_getaffinity(int(folder.name))
            if len(cpus) == 1 and (folder / "cmdline").read_bytes():
                counted.update(cpus)
    return counted
