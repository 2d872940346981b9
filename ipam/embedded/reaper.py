"""The process that outlives `ipam up` by a moment: it ends the children when their parent was killed.

It reads, a process a line, in which wave it was started, its id and its start; and acts when its input ends. After
an orderly stop, which the last line says, it does nothing.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

STOP_TIMEOUT_S = 10.0
_POLL_S = 0.1
# The last line, when all was stopped in order.
STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class Group:
    """A process group that was started here.

    Attributes:
        leader: The id of the process that it was started with.
        started: When that began, in the words of the system: ids are given to others in time.
    """

    leader: int
    started: str

    @classmethod
    def of(cls, leader: int) -> Group:
        """Return the group of the process *leader*, which has just been started."""
        return cls(leader, _start_of(leader) or "")

    def signal(self, number: int) -> bool:
        """Send signal *number* (0 only asks) to all in the group; return False when it is empty.

        While any of its processes is there, the id of the group is not used again, though its leader has ended.
        """
        if _start_of(self.leader) not in (None, self.started):
            return False
        try:
            os.killpg(self.leader, number)
        except (ProcessLookupError, PermissionError):
            return False
        return True


def reap(groups: list[Group]) -> None:
    """End *groups*, all at the same time: with SIGTERM, later with SIGKILL."""
    deadline = time.monotonic() + STOP_TIMEOUT_S
    for group in groups:
        group.signal(signal.SIGTERM)
    for group in groups:
        while _is_alive(group) and time.monotonic() < deadline:
            time.sleep(_POLL_S)
        group.signal(signal.SIGKILL)


def main() -> None:
    """Collect process groups until the parent is gone, then end them, what was started last first."""
    # Ctrl-C in the terminal is for the parent, which ends us by closing the pipe.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    waves: defaultdict[int, list[Group]] = defaultdict(list)
    for line in sys.stdin:
        if line.strip() == STOPPED:
            return
        wave, leader, started = line.rstrip("\n").split(" ")
        waves[int(wave)].append(Group(int(leader), started))
    for wave in sorted(waves, reverse=True):
        reap(waves[wave])


def _is_alive(group: Group) -> bool:
    # A process that has ended is still there until its parent has looked; as our foster child, that is init,
    # or, in a container without one, none.
    with suppress(ChildProcessError):
        os.waitpid(group.leader, os.WNOHANG)
    return group.signal(0)


def _start_of(process: int) -> str | None:
    """Return when *process* began, in ticks since the system did; None if there is none, or that cannot be told."""
    try:
        text = Path(f"/proc/{process}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    # The 22nd field; the third is the first one after the name, which stands in brackets and may hold anything.
    return text.rpartition(")")[2].split()[22 - 3]


if __name__ == "__main__":
    main()
