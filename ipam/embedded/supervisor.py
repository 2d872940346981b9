"""Keeping child processes alive, and leaving none behind."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import threading
from collections.abc import Callable

from ipam.embedded.parts import PYTHON, Part
from ipam.embedded.reaper import STOP_TIMEOUT_S, signal_group

log = logging.getLogger(__name__)
# A child that dies at once again and again is restarted at this pace.
_RESTART_PAUSE_S = 1.0
_POLL_S = 0.2


class Supervisor:
    """Runs parts as child processes, each in a process group of its own.

    A reaper process holds the other end of a pipe: when this process is gone, however that came, it ends the
    groups that are left.

    Args:
        show: Takes each line that a child prints, with the child's name.
    """

    def __init__(self, show: Callable[[str, str], None]) -> None:
        self._show = show
        self._children: dict[str, tuple[Part, subprocess.Popen[str]]] = {}
        self._reaper = subprocess.Popen(
            [*PYTHON, "-m", "ipam.embedded.reaper"],
            stdin=subprocess.PIPE,
            start_new_session=True,
            text=True,
        )

    def start(self, part: Part) -> None:
        """Start *part*."""
        child = subprocess.Popen(
            part.command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**os.environ, **part.environment},
            start_new_session=True,
            text=True,
            errors="replace",
        )
        self._children[part.name] = (part, child)
        if self._reaper.stdin is not None:
            self._reaper.stdin.write(f"{child.pid}\n")
            self._reaper.stdin.flush()
        threading.Thread(target=self._relay, args=(part.name, child), daemon=True).start()

    def running(self, name: str) -> bool:
        """Whether the process *name* is alive."""
        return self._children[name][1].poll() is None

    def watch(self, stopped: threading.Event) -> None:
        """Restart whatever dies, until *stopped* is set."""
        while not stopped.wait(_POLL_S):
            for part, child in list(self._children.values()):
                if child.poll() is not None and not stopped.is_set():
                    log.warning("%s ended with %s; starting it again", part.name, child.returncode)
                    stopped.wait(_RESTART_PAUSE_S)
                    signal_group(child.pid, signal.SIGKILL)  # What it may have left of its own children.
                    self.start(part)

    def end(self, part: Part) -> None:
        """Stop *part*, which is not needed any more, and wait for it."""
        _, child = self._children.pop(part.name)
        _stop(child)

    def stop(self) -> None:
        """Stop all, the last one started first, and wait for them."""
        for _, child in reversed(list(self._children.values())):
            _stop(child)
        if self._reaper.stdin is not None:
            self._reaper.stdin.close()
        self._reaper.wait()

    def _relay(self, name: str, child: subprocess.Popen[str]) -> None:
        for line in child.stdout or ():
            self._show(name, line.rstrip("\n"))


def _stop(child: subprocess.Popen[str]) -> None:
    if child.poll() is None:
        child.terminate()
        try:
            child.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            log.warning("process %s did not stop in %.0f s; killing it", child.pid, STOP_TIMEOUT_S)
    signal_group(child.pid, signal.SIGKILL)
    child.wait()
