"""Who goes on, who dies and who sleeps: all decided in one place, from a seed.

Every thread of every process is a greenlet that stops before each command to the database and goes on when the
scheduler says so; so one of them runs at a time, and a seed is a history.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from greenlet import GreenletExit, getcurrent, greenlet

from tests.simulation.story import Story
from tests.simulation.virtual import Clock

NEVER = float("inf")
_IDLE_S = 0.5
_NAP_STEPS = 60
_SLEEP_S = 100.0
# Longer than any claim holds.
_STIRRED_AFTER_S = 31.0
_CURSE = 0.3


@dataclass(frozen=True, slots=True)
class Command:
    """A command to the database, *name* being `collection.method`; its text is made only when somebody reads it."""

    name: str
    arguments: tuple[Any, ...]

    def __str__(self) -> str:
        return f"{self.name} {' '.join(map(str, self.arguments))}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """How likely things are, before each command to the database; drawn anew for each history.

    Attributes:
        death: The process of the thread dies.
        sleep: The thread sleeps while others make some commands, or for longer than any claim.
        error: The command fails, before or after it took effect.
        cursed: The one command, as `collection.method`, before which threads fall asleep all the time.
        step_s: Not a likelihood: the longest time that a command takes.
        fast_s: Nor this: how far clocks are ahead or behind, at most.
        stirring: A command that wakes those who have slept for longer than any claim, when another has made it; so
            they come into the middle of what was taken from them. None for those who wake at any time.
    """

    death: float
    sleep: float
    error: float
    cursed: str
    step_s: float
    fast_s: float
    stirring: str | None = None


@dataclass(eq=False, slots=True)
class Process:
    """One operating system process; `lives` is how often it was started, `fast_s` how far its clock is ahead."""

    name: str
    fast_s: float = 0.0
    threads: list[Thread] = field(default_factory=list)
    lives: int = 1


@dataclass(eq=False, slots=True)
class Thread:
    """What one process does about one request or message."""

    name: str
    process: Process
    run: greenlet
    wakes_at_s: float = 0.0
    sleeps_since_s: float = NEVER
    fault: Exception | None = None


class Scheduler:
    """Hands the baton from thread to thread.

    Attributes:
        chance: Every decision of a history comes from it.
        calm: While it is set nobody dies, sleeps long or meets an error.
    """

    def __init__(self, chance: random.Random, clock: Clock, story: Story, rates: Rates) -> None:
        self.chance = chance
        self.clock = clock
        self.story = story
        self.rates = rates
        self.calm = False
        self.threads: list[Thread] = []
        self.deaths = self.sleeps = self.errors = self.commands = 0
        self._hub = getcurrent()
        self._current: Thread | None = None

    def spawn(self, process: Process, name: str, work: Callable[[], None]) -> Thread:
        """A new thread of *process* that will do *work*."""
        thread = Thread(f"{process.name}: {name}", process, greenlet(work, self._hub))
        self.threads.append(thread)
        process.threads.append(thread)
        self.story.tell(thread.name, "begins")
        return thread

    def before_command(self, what: Command) -> bool:
        """Let others go on, until it is this thread's turn; True if its command is to fail."""
        thread = self._current
        assert thread is not None, "a command outside of any thread"
        if what.name == self.rates.cursed and not self.calm and self.chance.random() < _CURSE:
            self._fall_asleep(thread)
        self._hub.switch()
        self.commands += 1
        self._stir(what.name)
        self.clock.now_s += self.chance.uniform(0.0, self.rates.step_s)
        self.story.tell(thread.name, what)
        failing = not self.calm and self.chance.random() < self.rates.error
        self.errors += failing
        return failing

    def _stir(self, name: str) -> None:
        if name == self.rates.stirring:
            for thread in self.threads:
                if self.clock.now_s - thread.sleeps_since_s > _STIRRED_AFTER_S:
                    thread.wakes_at_s = thread.sleeps_since_s = min(thread.wakes_at_s, self.clock.now_s)

    def toss(self, heads: str, tails: str) -> bool:
        """One of two things happens, the first of them if True; the story tells which."""
        fallen = self.chance.random() < 0.5
        self.story.tell(self._current.name, heads if fallen else tails)
        return fallen

    def sleep(self, seconds: float) -> None:
        """What `time.sleep` is to the threads."""
        self._current.wakes_at_s = self.clock.now_s + seconds
        self._hub.switch()

    def step(self) -> Thread | None:
        """Let one thread go on to its next command; returns it when it has ended.

        When all of them sleep, time passes until the first wakes up.
        """
        awake = [thread for thread in self.threads if thread.wakes_at_s <= self.clock.now_s]
        if not awake:
            later = [thread.wakes_at_s for thread in self.threads if thread.wakes_at_s < NEVER]
            self.clock.now_s = min(later, default=self.clock.now_s + _IDLE_S)
            return None
        # Often one of the youngest: so the others come to be far behind.
        thread = self.chance.choice(awake[-3:] if self.chance.random() < 0.5 else awake)
        if not self.calm:
            if self.chance.random() < self.rates.death:
                self.kill(thread.process)
                return None
            if self.chance.random() < self.rates.sleep:
                self._fall_asleep(thread)
                return None
        self._go_on(thread)
        return thread if thread.run.dead else None

    def kill(self, process: Process) -> None:
        """`kill -9` of all threads of *process*."""
        self.deaths += 1
        process.lives += 1
        self.story.tell(process.name, "dies with all of its threads")
        self._throw_away(process)

    def end(self) -> None:
        """Throw away what is still there when a history is over."""
        for thread in list(self.threads):
            self._throw_away(thread.process)

    def _throw_away(self, process: Process) -> None:
        for thread in list(process.threads):
            self._current = thread
            while not thread.run.dead:  # A handler that would make another command does not get to it.
                thread.run.throw(GreenletExit)
            self._end(thread)
        self._current = None

    def _fall_asleep(self, thread: Thread) -> None:
        self.sleeps += 1
        longest_s = self.chance.choice([_NAP_STEPS * self.rates.step_s, _SLEEP_S])
        thread.sleeps_since_s = self.clock.now_s
        thread.wakes_at_s = self.clock.now_s + self.chance.uniform(0, longest_s)
        if self.rates.stirring:
            thread.wakes_at_s = self.clock.now_s + _SLEEP_S
        self.story.tell(thread.name, f"falls asleep until {thread.wakes_at_s:.1f} s")

    def _go_on(self, thread: Thread) -> None:
        self._current, thread.sleeps_since_s = thread, NEVER
        self.clock.fast_s = thread.process.fast_s
        try:
            thread.run.switch()
        except Exception as fault:  # noqa: BLE001 (whatever it is, it is told and looked at)
            thread.fault = fault
            self.story.tell(thread.name, f"raises {fault!r}")
        self._current, self.clock.fast_s = None, 0.0
        if thread.run.dead:
            self.story.tell(thread.name, "ends")
            self._end(thread)

    def _end(self, thread: Thread) -> None:
        self.threads.remove(thread)
        thread.process.threads.remove(thread)
