"""The process that outlives `ipam up` by a moment: it ends the children when their parent was killed.

It reads, a process a line, in which wave it was started, and its id; and acts when its input ends. After an orderly
stop there is nobody left to end.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections import defaultdict
from contextlib import suppress

STOP_TIMEOUT_S = 10.0
_POLL_S = 0.1


def signal_group(leader: int, number: int) -> bool:
    """Send signal *number* (0 only asks) to the process group of *leader*; False when nobody is left in it."""
    try:
        os.killpg(leader, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def _alive(leader: int) -> bool:
    # A process that has ended is still there until its parent has looked; as our foster child, that is init,
    # or, in a container without one, nobody.
    with suppress(ChildProcessError):
        os.waitpid(leader, os.WNOHANG)
    return signal_group(leader, 0)


def reap(leaders: list[int]) -> None:
    """End the process groups of *leaders*, all at the same time: with SIGTERM, later with SIGKILL."""
    deadline = time.monotonic() + STOP_TIMEOUT_S
    for leader in leaders:
        signal_group(leader, signal.SIGTERM)
    for leader in leaders:
        while _alive(leader) and time.monotonic() < deadline:
            time.sleep(_POLL_S)
        signal_group(leader, signal.SIGKILL)


def main() -> None:
    """Collect process ids until the parent is gone, then end them, what was started last first."""
    # Ctrl-C in the terminal is for the parent, which ends us by closing the pipe.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    waves: defaultdict[int, list[int]] = defaultdict(list)
    for line in sys.stdin:
        wave, leader = line.split()
        waves[int(wave)].append(int(leader))
    for wave in sorted(waves, reverse=True):
        reap(waves[wave])


if __name__ == "__main__":
    main()
