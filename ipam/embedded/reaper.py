"""The process that outlives `ipam up` by a moment: it ends the children when their parent was killed.

It reads process ids, one a line, and acts when its input ends. After an orderly stop there is nobody left to end.
"""

from __future__ import annotations

import os
import signal
import sys
import time
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
    """End the process groups of *leaders*, the last one started first: with SIGTERM, later with SIGKILL."""
    for leader in reversed(leaders):
        deadline = time.monotonic() + STOP_TIMEOUT_S
        signal_group(leader, signal.SIGTERM)
        while _alive(leader) and time.monotonic() < deadline:
            time.sleep(_POLL_S)
        signal_group(leader, signal.SIGKILL)


def main() -> None:
    """Collect process ids until the parent is gone, then end them."""
    # Ctrl-C in the terminal is for the parent, which ends us by closing the pipe.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    reap([int(line) for line in sys.stdin])


if __name__ == "__main__":
    main()
