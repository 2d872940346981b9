"""Keeping child processes alive, and leaving none behind."""

from __future__ import annotations

import logging
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass

from ipam.embedded.processes import PYTHON, ProcessSpec
from ipam.embedded.reaper import STOP_TIMEOUT_S, STOPPED, Group

log = logging.getLogger(__name__)
# A child that dies at once again and again is restarted at this pace.
_RESTART_PAUSE_S = 1.0
_POLL_S = 0.2


@dataclass(frozen=True, slots=True)
class _Child:
    part: ProcessSpec
    process: subprocess.Popen[str]
    group: Group


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
        self._waves: list[dict[str, _Child]] = []
        self._reaper = subprocess.Popen(
            [*PYTHON, "-m", "ipam.embedded.reaper"],
            stdin=subprocess.PIPE,
            start_new_session=True,
            text=True,
        )

    def start(self, parts: Iterable[ProcessSpec]) -> None:
        """Start *parts* side by side; side by side they will be stopped, before all that was started earlier."""
        self._waves.append({})
        for part in parts:
            self._start(part, len(self._waves) - 1)

    def running(self, name: str) -> bool:
        """Return whether the process *name* is alive."""
        return any(wave[name].process.poll() is None for wave in self._waves if name in wave)

    def watch(self, stopped: threading.Event) -> None:
        """Restart whatever dies, until *stopped* is set."""
        while not stopped.wait(_POLL_S):
            for number, wave in enumerate(self._waves):
                for child in list(wave.values()):
                    code = child.process.poll()
                    if code is not None and not stopped.is_set():
                        log.warning("%s ended with %s; starting it again", child.part.name, code)
                        stopped.wait(_RESTART_PAUSE_S)
                        child.group.signal(signal.SIGKILL)  # What it may have left of its own children.
                        self._start(child.part, number)

    def kill(self, name: str) -> None:
        """Kill the process *name* with its children; `watch` starts it again."""
        for wave in self._waves:
            if name in wave:
                wave[name].group.signal(signal.SIGKILL)

    def stop_last(self) -> None:
        """Stop what was started last, and wait for it."""
        _stop(list(self._waves.pop().values()))

    def stop(self) -> None:
        """Stop all, what was started last first, and wait for them."""
        while self._waves:
            self.stop_last()
        self._tell_reaper(STOPPED)
        self._reaper.wait()

    def _start(self, part: ProcessSpec, wave: int) -> None:
        process = part.start(subprocess.PIPE)
        group = Group.of(process.pid)
        self._waves[wave][part.name] = _Child(part, process, group)
        self._tell_reaper(f"{wave} {group.leader} {group.started}")
        threading.Thread(target=self._relay, args=(part.name, process), daemon=True).start()

    def _tell_reaper(self, line: str) -> None:
        if self._reaper.stdin is not None:
            with suppress(BrokenPipeError):  # It was killed.
                self._reaper.stdin.write(f"{line}\n")
                self._reaper.stdin.flush()

    def _relay(self, name: str, child: subprocess.Popen[str]) -> None:
        for line in child.stdout or ():
            self._show(name, line.rstrip("\n"))


def _stop(children: list[_Child]) -> None:
    for child in children:
        child.process.terminate()
    deadline = time.monotonic() + STOP_TIMEOUT_S
    for child in children:
        try:
            child.process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            log.warning("process %s did not stop in %.0f s; killing it", child.process.pid, STOP_TIMEOUT_S)
        child.group.signal(signal.SIGKILL)
        child.process.wait()
