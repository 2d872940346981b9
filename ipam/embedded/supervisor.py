"""Keeping child processes alive, and leaving none behind."""

from __future__ import annotations

import logging
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterable

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
        # What was started together, in the order of starting.
        self._waves: list[dict[str, tuple[Part, subprocess.Popen[str]]]] = []
        self._reaper = subprocess.Popen(
            [*PYTHON, "-m", "ipam.embedded.reaper"],
            stdin=subprocess.PIPE,
            start_new_session=True,
            text=True,
        )

    def start(self, parts: Iterable[Part]) -> None:
        """Start *parts* side by side; side by side they will be stopped, before all that was started earlier."""
        self._waves.append({})
        for part in parts:
            self._start(part, len(self._waves) - 1)

    def running(self, name: str) -> bool:
        """Whether the process *name* is alive."""
        return any(wave[name][1].poll() is None for wave in self._waves if name in wave)

    def watch(self, stopped: threading.Event) -> None:
        """Restart whatever dies, until *stopped* is set."""
        while not stopped.wait(_POLL_S):
            for number, wave in enumerate(self._waves):
                for part, child in list(wave.values()):
                    if child.poll() is not None and not stopped.is_set():
                        log.warning("%s ended with %s; starting it again", part.name, child.returncode)
                        stopped.wait(_RESTART_PAUSE_S)
                        signal_group(child.pid, signal.SIGKILL)  # What it may have left of its own children.
                        self._start(part, number)

    def kill(self, name: str) -> None:
        """Kill the process *name* with its children; `watch` starts it again."""
        for wave in self._waves:
            if name in wave:
                signal_group(wave[name][1].pid, signal.SIGKILL)

    def stop_last(self) -> None:
        """Stop what was started last, and wait for it."""
        _stop([child for _, child in self._waves.pop().values()])

    def stop(self) -> None:
        """Stop all, what was started last first, and wait for them."""
        while self._waves:
            self.stop_last()
        if self._reaper.stdin is not None:
            self._reaper.stdin.close()
        self._reaper.wait()

    def _start(self, part: Part, wave: int) -> None:
        child = part.start(subprocess.PIPE)
        self._waves[wave][part.name] = (part, child)
        if self._reaper.stdin is not None:
            self._reaper.stdin.write(f"{wave} {child.pid}\n")
            self._reaper.stdin.flush()
        threading.Thread(target=self._relay, args=(part.name, child), daemon=True).start()

    def _relay(self, name: str, child: subprocess.Popen[str]) -> None:
        for line in child.stdout or ():
            self._show(name, line.rstrip("\n"))


def _stop(children: list[subprocess.Popen[str]]) -> None:
    for child in children:
        child.terminate()
    deadline = time.monotonic() + STOP_TIMEOUT_S
    for child in children:
        try:
            child.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            log.warning("process %s did not stop in %.0f s; killing it", child.pid, STOP_TIMEOUT_S)
        signal_group(child.pid, signal.SIGKILL)
        child.wait()
