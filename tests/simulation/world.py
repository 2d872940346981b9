"""All of ipam without a network: web processes, workers, beat, and a broker that loses and doubles messages."""

from __future__ import annotations

import json
import threading
from contextlib import suppress
from dataclasses import dataclass

from bson import ObjectId
from falcon.testing import TestClient

from ipam.allocation.dispatcher import JobResults
from ipam.api.app import ApiOptions, create_app
from ipam.errors import Transient
from ipam.events.buses import Message as EventMessage
from ipam.events.publisher import Publisher
from ipam.events.relay import Relay
from ipam.hooks.admission import AdmissionController
from ipam.settings import Settings
from ipam.storage.stores import Stores
from ipam.wiring import Services, build_services
from tests.simulation.database import Database
from tests.simulation.hooks import HOOK, Consumers
from tests.simulation.scheduler import NEVER, Command, Process, Scheduler

SETTINGS = Settings()
_LATEST_MESSAGE_S = 60.0


@dataclass(frozen=True, slots=True)
class Message:
    """Wakes a worker for *target*, not before *due_s*."""

    target: ObjectId
    due_s: float


class Broker:
    """Keeps messages, or does not."""

    def __init__(self, scheduler: Scheduler, loss: float) -> None:
        self._scheduler = scheduler
        self._loss = loss
        self.messages: list[Message] = []

    def publish_results(self, ends: JobResults) -> None:
        """Users of this world look by themselves."""

    def dispatch(self, target: ObjectId, pause_s: float = 0.0) -> None:  # noqa: ARG002
        """Send a message: it comes once, twice, late or never."""
        scheduler = self._scheduler
        now_s, fate = scheduler.clock.now_s, scheduler.chance.random()
        if scheduler.calm or fate > 2 * self._loss:
            self.messages.append(Message(target, now_s))
        elif fate > self._loss:
            late_s = scheduler.chance.uniform(0, _LATEST_MESSAGE_S)
            self.messages += [Message(target, now_s), Message(target, now_s + late_s)]

    def receive(self) -> Message | None:
        """A message that is due, whichever."""
        due = [message for message in self.messages if message.due_s <= self._scheduler.clock.now_s]
        if not due:
            return None
        message = self._scheduler.chance.choice(due)
        self.messages.remove(message)
        return message


class Bus:
    """Takes events, or does not, or takes them and does not say so."""

    max_bytes = 1_000_000

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self.told: list[int] = []

    def publish(self, message: EventMessage) -> None:
        """Hear of an event."""
        failing = self._scheduler.before_command(Command("bus.publish", (message.id,)))
        if failing and self._scheduler.toss("it is not heard", "it is heard, and nobody says so"):
            raise Transient("The bus did not answer.")
        self.told.append(int(json.loads(message.body)["sequence"]))
        if failing:
            raise Transient("The bus did not answer.")

    def close(self) -> None:
        """Nothing is open."""


class World:
    """The processes of an installation on one database and one broker."""

    def __init__(self, scheduler: Scheduler, database: Database, broker: Broker, *, with_hooks: bool) -> None:
        self.consumers = Consumers(scheduler)
        self._hooks = [HOOK] if with_hooks else []
        self.scheduler = scheduler
        self.database = database
        self.broker = broker
        self.web = [self._process(f"web {n}") for n in (1, 2)]
        self.workers = [self._process(f"worker {n}") for n in (1, 2, 3)]
        self.beat = self._process("beat")
        self.relays = [self._process(f"relay {n}") for n in (1, 2)]
        self._memories: dict[Process, tuple[int, Services, TestClient]] = {}
        self._recovers_at_s = 0.0
        self.bus = Bus(scheduler)
        self._relaying: dict[Process, tuple[int, Relay]] = {}

    def client(self, process: Process) -> TestClient:
        """HTTP to a web process."""
        return self._memory(process)[1]

    def services(self, process: Process) -> Services:
        """The services of a process as it is now; another life has others."""
        return self._memory(process)[0]

    def serve(self) -> None:
        """Let an idle worker take a message."""
        idle = [worker for worker in self.workers if not worker.threads]
        message = self.broker.receive() if idle else None
        if message is not None:
            self._start_work(self.scheduler.chance.choice(idle), message.target)

    def beat_if_due(self) -> None:
        """Let beat look around when it is time to."""
        if self.scheduler.clock.now_s >= self._recovers_at_s and not self.beat.threads:
            self.recover()

    def recover(self) -> None:
        """Let beat look around now."""
        self._recovers_at_s = self.scheduler.clock.now_s + SETTINGS.recovery_interval_s
        recovery = self.services(self.beat).recovery

        def look_around() -> None:
            with suppress(Transient):  # The next one is on its way.
                recovery.run()

        self.scheduler.spawn(self.beat, "recovers", look_around)

    def relay(self) -> None:
        """Let an idle relay write to the log."""
        for process in self.relays:
            if not process.threads:
                relay = self._relay(process)
                deed = self.scheduler.chance.choice([relay.step, relay.step, relay.publish])
                self.scheduler.spawn(process, "is at work", deed)

    def publish_all(self) -> None:
        """Let a relay tell the bus what is in the log, when the former one's lead is over."""
        self.scheduler.clock.now_s += 30.0
        self.scheduler.spawn(self.relays[0], "publishes", self._relay(self.relays[0]).publish)

    def _relay(self, process: Process) -> Relay:
        lives, *relay = self._relaying.get(process, (0,))
        if lives != process.lives:
            stores = Stores(self.database)
            relay = [Relay(stores, Publisher(stores.log, stores.leader_lease, self.bus, "/ipam"))]
            self._relaying[process] = (process.lives, *relay)
        return relay[0]

    def replace_sleepers(self) -> None:
        """Start others beside the workers and the beat that sleep for good, as on another machine."""
        self.workers = [self._process(f"{one.name}+") if _sleeps(one) else one for one in self.workers]
        self.beat = self._process("beat+") if _sleeps(self.beat) else self.beat
        self.relays = [self._process(f"{one.name}+") if _sleeps(one) else one for one in self.relays]

    def _process(self, name: str) -> Process:
        fast_s = self.scheduler.rates.fast_s
        return Process(name, self.scheduler.chance.uniform(-fast_s, fast_s))

    def _start_work(self, worker: Process, target: ObjectId) -> None:
        runner = self.services(worker).job_runner

        def work() -> None:
            try:
                runner.run(target)
            except Transient:
                self.broker.dispatch(target)  # As Celery does, a little later.

        self.scheduler.spawn(worker, f"carries out {target}", work)

    def _memory(self, process: Process) -> tuple[Services, TestClient]:
        lives, *memory = self._memories.get(process, (0,))
        if lives != process.lives:
            admission = AdmissionController(self._hooks, self.consumers)
            services = build_services(Stores(self.database), SETTINGS, self.broker, admission)
            memory = [
                services,
                TestClient(create_app(services, lambda: None, threading.Event(), ApiOptions(["*"]))),
            ]
            self._memories[process] = (process.lives, *memory)
        return tuple(memory)


def _sleeps(process: Process) -> bool:
    return any(thread.wakes_at_s == NEVER for thread in process.threads)
