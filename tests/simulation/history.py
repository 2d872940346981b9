"""One history: from a seed to what is wrong at its end."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from unittest.mock import patch

from ipam.allocation import cascade_delete, job_runner, release
from ipam.errors import IpamError
from ipam.models.search_keys import OPEN
from tests.simulation.book import Book
from tests.simulation.database import Database
from tests.simulation.refusals import Refusals
from tests.simulation.scheduler import NEVER, Rates, Scheduler, Thread
from tests.simulation.story import Story
from tests.simulation.telling import faults_of_bus, is_all_told
from tests.simulation.users import Users
from tests.simulation.verdict import doubled_addresses, faults_at_rest, open_without_subnet
from tests.simulation.virtual import Clock, virtual_world
from tests.simulation.world import SETTINGS, Broker, World

_MOST_COMMANDS = 30_000
# So many addresses at most go back at once, and without a job: to one seed nothing is large, to others much is.
_LARGE = (1000, 1, 2)
# So long jobs are new; with the latter some still are when a claim of theirs has run out.
_NEW_FOR_S = (5, 60)
# A job that cannot be stored is tried ten times, each when its claim has run out, which takes two rounds; then its
# addresses go back.
_MOST_ROUNDS_OF_RECOVERY = 30
# In one history of so many there is a hook.
_WITH_HOOKS = 5
# In one of so many all clocks are set back at some time, by so much.
_CLOCKS_SET_BACK = 11
_SET_BACK_S = 3600.0
# In one history of so many a thread that falls asleep before the first of two commands wakes when another has made
# the second, and users do one thing all the time: so what wakes up comes into the middle of what was done instead.
# Which commands and which deed these are, the quotient says.
_STALE = {
    41: (
        ("jobs.update_one", "reservations.insert_one", "cancel"),
        ("jobs.update_one", "ledgers.update_one", "cancel"),
        ("ledgers.update_one", "jobs.update_one", "cancel"),
        ("blocks.update_one", "ledgers.update_one", "cancel"),
        ("leases.update_one", "blocks.update_one", "cancel"),
    ),
    43: (
        ("blocks.find", "blocks.update_one", "swap leases"),
        ("pools.update_one", "subnets.update_one", "replace a subnet"),
    ),
    47: (
        ("subnets.update_one", "ledgers.update_one", "delete a subnet"),
        ("ledgers.update_one", "subnets.update_one", "delete a subnet"),
        ("ledgers.insert_one", "subnets.update_one", "delete a pool"),
        ("subnets.update_one", "ledgers.update_one", "release a reservation"),
    ),
}
# Between them lie the windows in which others get into the way.
_COMMANDS = (
    *("leases.find", "leases.insert_one", "leases.update_one", "leases.count_documents"),
    *("reservations.find", "reservations.find_one", "reservations.insert_one", "reservations.update_one"),
    *(
        "subnets.find_one",
        "subnets.insert_one",
        "subnets.update_one",
        "ledgers.find_one",
        "ledgers.find",
        "ledgers.insert_one",
        "ledgers.update_one",
        "blocks.find",
        "blocks.update_one",
        "pools.find_one",
        "pools.update_one",
    ),
    *("jobs.find", "jobs.insert_one", "jobs.update_one", "idempotency.update_one"),
    *("events.insert_one", "events.find", "log.find_one", "log.find", "log.insert_one", "bus.publish"),
)
_USUAL_WEIGHTS = {
    "create a pool": 1,
    "create a subnet": 6,
    "reserve": 30,
    "ask again": 8,
    "release a reservation": 12,
    "release a lease": 12,
    "delete a subnet": 4,
    "delete subnets": 1,
    "swap leases": 3,
    "replace a subnet": 2,
    "delete a pool": 1,
    "cancel": 2,
    "change": 4,
}


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a history ended: what it came to, and what is wrong, with the story of it."""

    seed: int
    commands: int
    deaths: int
    sleeps: int
    errors: int
    faults: tuple[str, ...]
    story: str


class History:
    """The world of one seed; what is likely in it is drawn from the seed too, so that histories differ in kind."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.chance = chance = random.Random(seed)
        self.clock = Clock()
        self.story = Story(self.clock)
        self.book = Book()
        rates = Rates(
            death=chance.choice([0, 0.002, 0.01]),
            sleep=chance.choice([0, 0.02, 0.06]),
            error=chance.choice([0, 0.004, 0.02]),
            cursed=chance.choice(_COMMANDS),
            step_s=chance.choice([0.02, 0.2, 0.6]),
            fast_s=chance.choice([0, 0.5, 5]),
        )
        often = None
        for one_of, kinds in _STALE.items():
            if seed % one_of == 0:
                cursed, stirring, often = kinds[seed // one_of % len(kinds)]
                rates = replace(rates, cursed=cursed, stirring=stirring)
        self.scheduler = Scheduler(chance, self.clock, self.story, rates)
        self.database = Database(self.scheduler, self._after_write)
        self.refusals = Refusals(self.database.plain)
        broker = Broker(self.scheduler, chance.choice([0, 0.1, 0.4]))
        self.world = World(self.scheduler, self.database, broker, with_hooks=seed % _WITH_HOOKS == 0)
        weights = {name: weight * chance.choice([0.2, 1, 1, 4]) for name, weight in _USUAL_WEIGHTS.items()}
        if often is not None:
            weights[often] = sum(weights.values())
        self.users = Users(
            self.world, self.book, weights, at_once=chance.randint(2, 8), poison=chance.choice([0, 0, 0.05])
        )
        self.length = chance.randint(60, 500)
        self.relaying = chance.choice([0, 0.02, 0.1])
        self.clocks_set_back_at = chance.randrange(self.length) if seed % _CLOCKS_SET_BACK == 0 else None

    def run(self) -> Outcome:
        """Live through it."""
        large = _LARGE[self.seed % len(_LARGE)]
        with (
            virtual_world(self.clock, self.seed, self.scheduler.sleep),
            patch.object(release, "RELEASED_WITHOUT_JOB", large),
            patch.object(release, "RELEASED_AT_ONCE", large),
            patch.object(cascade_delete, "DELETED_WITHOUT_JOB", large),
            patch.object(cascade_delete, "RELEASED_AT_ONCE", large),
            patch.object(cascade_delete, "_RECOUNTED_AT_ONCE", large),
            patch.object(cascade_delete, "_STEPS_AT_ONCE", large),
            patch.object(job_runner, "NEW_FOR_S", _NEW_FOR_S[self.seed // len(_LARGE) % len(_NEW_FOR_S)]),
        ):
            try:
                self._live()
                self._rest(waking=False)
                self._rest(waking=True)
                self._publish_all()
                faults = [*self.book.broken, *faults_at_rest(self.database.plain, self.book)]
                faults += faults_of_bus(self.database.plain, self.world.bus.told)
                faults += self.world.consumers.faults(self.database.plain) if self.seed % _WITH_HOOKS == 0 else ()
                if not faults:
                    faults = self._drain()
            except Broken as broken:
                faults = [str(broken)]
            self.scheduler.end()
        counted = self.scheduler
        return Outcome(
            self.seed,
            counted.commands,
            counted.deaths,
            counted.sleeps,
            counted.errors,
            tuple(faults),
            str(self.story) if faults else "",
        )

    def _live(self) -> None:
        self.users.begin()
        while self.scheduler.commands < self.length:
            if self.scheduler.commands == self.clocks_set_back_at:
                self.clock.set_back_s = _SET_BACK_S
            self.users.act()
            self.world.serve()
            self.world.beat_if_due()
            if self.chance.random() < self.relaying:
                self.world.relay()
            self._step()

    def _rest(self, *, waking: bool) -> None:
        """Let everybody come to an end, and recovery run until all is quiet; sleepers sleep on until *waking*."""
        scheduler = self.scheduler
        for thread in scheduler.threads:
            if waking:
                thread.wakes_at_s = self.clock.now_s
            elif thread.wakes_at_s > self.clock.now_s + 1 and self.chance.random() < 0.7:
                thread.wakes_at_s = NEVER
        self.world.replace_sleepers()
        while waking and scheduler.threads:  # What they do after waking up is done in the world as it was: rough.
            self._step()
        scheduler.calm = True
        self._come_to_an_end()
        for _ in range(_MOST_ROUNDS_OF_RECOVERY):
            if self._quiet():
                break
            self.clock.now_s += SETTINGS.claim_timeout_s * 1.1
            self.world.recover()
            self._come_to_an_end()
            self.world.relay()
            self._come_to_an_end()
        else:
            raise Broken("recovery does not finish what was left behind")
        scheduler.calm = False

    def _publish_all(self) -> None:
        self.scheduler.calm = True
        self.world.publish_all()
        self._come_to_an_end()
        self.scheduler.calm = False

    def _quiet(self) -> bool:
        """Whether nothing is left to be done; whether it is right, the verdict says."""
        plain = self.database.plain
        return not (
            plain["jobs"].count_documents({"keys": OPEN})
            or plain["reservations"].count_documents({"unfinished": {"$exists": True}})
            or plain["pools"].count_documents({"state": "deleting"})
            or plain["subnets"].count_documents({"state": {"$in": ["creating", "deleting"]}})
            or plain["ledgers"].count_documents({"grants.0": {"$exists": True}})
            or plain["ledgers"].count_documents({"releases.0": {"$exists": True}})
            or plain["ledgers"].count_documents({"state": "closed", "unfinished": {"$exists": True}})
            or not is_all_told(plain)
        )

    def _come_to_an_end(self) -> None:
        while self.world.broker.messages or any(one.wakes_at_s < NEVER for one in self.scheduler.threads):
            self.world.serve()
            self._step()

    def _step(self) -> None:
        if self.scheduler.commands > _MOST_COMMANDS:
            raise Broken("it never comes to rest")
        ended = self.scheduler.step()
        if ended is not None:
            self._look_at(ended)

    def _look_at(self, thread: Thread) -> None:
        if thread.fault is not None and not isinstance(thread.fault, IpamError):
            raise Broken(f"{thread.name} raised {thread.fault!r}")

    def _after_write(self, collection: str) -> None:
        if self.book.broken:
            return
        self.book.broken += self.refusals.after_write(collection)
        if collection == "leases":
            self.book.broken += doubled_addresses(self.database.plain)
        if collection in ("subnets", "ledgers"):
            self.book.broken += open_without_subnet(self.database.plain)

    def _drain(self) -> list[str]:
        """Guarantee 4: reserving one by one until it is refused hands out exactly what is free."""
        plain = self.database.plain
        self.world.consumers.willing = True
        active = list(plain["subnets"].find({"state": "active"}))
        self.scheduler.calm = True
        for subnet in active:
            used = plain["ledgers"].find_one({"_id": subnet["_id"]}, {"used": 1}) or {"used": 0}
            for _ in range(int(subnet["size"]) - used["used"] + 1):
                self.users.reserve_one(subnet["_id"])
        self._come_to_an_end()
        for _ in range(_MOST_ROUNDS_OF_RECOVERY):
            if self._quiet():
                break
            self.world.relay()
            self._come_to_an_end()
        found = []
        for subnet in active:
            id_, size = subnet["_id"], int(subnet["size"])
            held = plain["leases"].count_documents({"subnet": id_, "reservation": {"$exists": True}})
            if held != size:
                found.append(f"subnet {id_} has {size} addresses and handed out {held} until it was exhausted")
        return [*found, *self.book.broken, *faults_at_rest(plain, self.book)]


class Broken(Exception):
    """Something that must not be, seen before the end."""


def run(seed: int) -> Outcome:
    """The history of *seed*."""
    return History(seed).run()
