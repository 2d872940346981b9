"""What users do, at random: create, reserve, give back, delete, change, cancel, ask again."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_address
from typing import Any

from bson import ObjectId

from ipam.models.addresses import Address, from_place
from ipam.models.search_keys import OPEN
from tests.simulation.book import Answer, Book, Wish
from tests.simulation.database import POISON
from tests.simulation.scheduler import Process
from tests.simulation.world import World

# Few addresses, so that subnets overlap and are exhausted all the time: first offset and size of a subnet.
# Some of the ranges lie in two blocks.
_FIRST = ip_address("10.0.255.255")
_RANGES = ((0, 4), (4, 4), (0, 2), (2, 4), (8, 2))
_REFUSALS = (404, 409, 422)
# Gone at once; or for the callers, while a job gives back what it held.
_REMOVED = (204, 202)
_ASYNC = {"Prefer": "respond-async"}
# A fault of our own; a revision that nobody spoke of.
_IMPOSSIBLE = (500, 412)


class Users:
    """Clients of both web processes; the more of them `at_once`, the more happens between two commands of one."""

    def __init__(self, world: World, book: Book, weights: dict[str, float], *, at_once: int, poison: float) -> None:
        self._world = world
        self._book = book
        self._at_once = at_once
        self._poison = poison
        self._chance = world.scheduler.chance
        self._plain = world.database.plain
        self._meddled: ObjectId | None = None
        deeds: dict[str, Callable[[], None]] = {
            "create a pool": self._create_pool,
            "create a subnet": self._create_subnet,
            "reserve": self._reserve,
            "ask again": self._ask_again,
            "release a reservation": lambda: self._delete("reservations"),
            "release a lease": self._release_lease,
            "delete a subnet": lambda: self._delete("subnets"),
            "delete subnets": self._delete_subnets,
            "swap leases": self._swap_leases,
            "replace a subnet": self._replace_subnet,
            "delete a pool": self._delete_pool,
            "cancel": self._cancel,
            "change": self._change,
        }
        assert set(weights) == set(deeds)
        self._deeds = [deeds[name] for name in weights]
        self._weights = list(weights.values())

    def act(self) -> None:
        """Perhaps begin something new."""
        if sum(len(process.threads) for process in self._world.web) < self._at_once and self._chance.random() < 0.3:
            self._chance.choices(self._deeds, self._weights)[0]()

    def begin(self) -> None:
        """A pool, for what follows to have a place."""
        self._create_pool()

    def reserve_one(self, subnet: ObjectId) -> None:
        """Ask for one address of *subnet*."""
        self._post(Wish(f"/subnets/{subnet}/reservations", {"count": 1}, None))

    def _create_pool(self) -> None:
        self._post(Wish("/pools", {"name": "p"}, self._key()))

    def _create_subnet(self) -> None:
        pool = self._some("pools", {"state": "active"})
        if pool is not None:
            first, size = self._chance.choice(_RANGES)
            self._put_subnet(pool, _FIRST + first, _FIRST + first + size - 1)

    def _replace_subnet(self) -> None:
        """A subnet goes, and another takes its place and is used, all at once."""
        replaced = self._some("subnets", {"state": "active"}, "_id", "pool", "start", "end")
        if replaced is not None:
            id_, pool, start, end = replaced
            self._delete_path(f"/subnets/{id_}")
            self._put_subnet(pool, from_place(start), from_place(end))
            self._post(Wish(f"/pools/{pool}/reservations", {"count": 1}, self._key()))

    def _put_subnet(self, pool: ObjectId, start: Address, end: Address) -> None:
        self._post(Wish(f"/pools/{pool}/subnets", {"start": str(start), "end": str(end)}, self._key()))

    def _reserve(self) -> None:
        kind = self._chance.choice(["subnets", "subnets", "pools"])
        target = self._some(kind, {"state": "active"})
        if target is not None:
            name = POISON if self._chance.random() < self._poison else "r"
            body = {"name": name, **self._form(kind)}
            self._post(Wish(f"/{kind}/{target}/reservations", body, self._key()))

    def _form(self, kind: str) -> dict[str, Any]:
        """A way to ask for addresses."""
        count = self._chance.randint(1, 2 if kind == "subnets" else 6)
        match self._chance.choice(["plain", "plain", "strategy", "contiguous", "addresses", "spread"]):
            case "strategy":
                return {"count": count, "strategy": self._chance.choice(["next", "lowest", "random"])}
            case "contiguous":
                return {"count": min(count, 3), "contiguous": True}
            case "addresses":
                some = self._chance.sample(range(8), min(count, 3))
                return {"addresses": [str(_FIRST + n) for n in some]}
            case "spread" if kind == "pools":
                return {"count": count, "spread": "most-free"}
        return {"count": count}

    def _ask_again(self) -> None:
        again = [wish for wish in self._book.wishes if wish.key is not None]
        if again:
            self._post(self._chance.choice(again))

    def _change(self) -> None:
        kind = self._chance.choice(["pools", "subnets", "reservations", "leases", "leases"])
        change = {"name": f"n{self._chance.randrange(9)}"}
        if kind == "leases":
            lease = self._some(kind, {"reservation": {"$exists": True}}, "lease")
            if lease is not None:
                self._send("PATCH", f"/leases/{lease[0]}", change)
        elif (id_ := self._some(kind, {"state": "active"})) is not None:
            self._send("PATCH", f"/{kind}/{id_}", change)

    def _release_lease(self) -> None:
        """Often one of the reservation that was last meddled with, or the newest of all."""
        again = self._meddled is not None and self._chance.random() < 0.5
        held = list(self._plain["leases"].find({"reservation": self._meddled if again else {"$exists": True}}))
        if held:
            newest = max(held, key=lambda lease: lease["lease"])
            lease = newest if self._chance.random() < 0.5 else self._chance.choice(held)
            self._meddled = lease["reservation"]
            self._delete_path(f"/leases/{lease['lease']}", reservation=str(lease["reservation"]))

    def _swap_leases(self) -> None:
        """Several leases of a subnet go back, and others are asked for, all at once."""
        lease = self._some("leases", {"reservation": {"$exists": True}}, "subnet")
        if lease is not None:
            held = list(self._plain["leases"].find({"subnet": lease[0], "reservation": {"$exists": True}}))
            for one in self._chance.sample(held, min(len(held), 3)):
                self._delete_path(f"/leases/{one['lease']}", reservation=str(one["reservation"]))
            for _ in range(2):
                self._post(Wish(f"/subnets/{lease[0]}/reservations", {"count": 1}, self._key()))

    def _delete_subnets(self) -> None:
        """All the subnets that one reservation spans go at once."""
        spanning = self._some("reservations", {"state": "active", "subnets.1": {"$exists": True}}, "subnets")
        for subnet in spanning[0] if spanning is not None else ():
            self._delete_path(f"/subnets/{subnet}")

    def _delete_pool(self) -> None:
        """Often one into which somebody is putting a subnet."""
        creating = self._some("subnets", {"state": "creating"}, "pool")
        if creating is not None and self._chance.random() < 0.7:
            self._delete_path(f"/pools/{creating[0]}")
        else:
            self._delete("pools")

    def _cancel(self) -> None:
        job = self._some("jobs", {"keys": OPEN})
        if job is not None:
            self._delete_path(f"/jobs/{job}")

    def _delete(self, kind: str) -> None:
        id_ = self._some(kind, {"state": "active"})
        if id_ is not None:
            self._delete_path(f"/{kind}/{id_}")

    def _delete_path(self, path: str, reservation: str | None = None) -> None:
        book = self._book
        book.deletions[path] += 1
        if reservation is not None:
            book.given_back.setdefault(reservation, set()).add(path)
        careful = path.startswith(("/pools", "/subnets")) and self._chance.random() < 0.3

        def told(answer: Answer) -> None:
            if answer.status in _REMOVED:
                book.gone.add(path)
            elif answer.status in _REFUSALS:
                book.deletions[path] -= 1

        self._send("DELETE", path + ("?cascade=false" if careful else ""), None, told, _ASYNC)

    def _post(self, wish: Wish) -> None:
        if not wish.sent:
            self._book.wishes.append(wish)
        wish.sent += 1
        key = {} if wish.key is None else {"Idempotency-Key": wish.key}
        self._send("POST", wish.path, wish.body, wish.answers.append, {**_ASYNC, **key})

    def _send(
        self,
        method: str,
        path: str,
        body: Any,
        told: Callable[[Answer], None] = lambda _: None,
        headers: dict[str, str] | None = None,
    ) -> None:
        web: Process = self._chance.choice(self._world.web)
        client = self._world.client(web)
        story = self._world.scheduler.story

        def request() -> None:
            route, _, query = path.partition("?")
            result = client.simulate_request(method, route, query_string=query, json=body, headers=headers)
            answer = Answer(result.status_code, result.headers.get("Location"))
            story.tell(web.name, f"answers {method} {path}: {answer.status} {answer.location or result.text}")
            if answer.status in _IMPOSSIBLE and "given-up" not in result.text:
                self._book.broken.append(f"{method} {path} is answered with {answer.status}")
            told(answer)

        self._world.scheduler.spawn(web, f"{method} {path}", request)

    def _key(self) -> str | None:
        return f"key-{ObjectId()}" if self._chance.random() < 0.7 else None

    def _some(self, kind: str, wanted: dict[str, Any], *fields: str) -> Any:
        """One of those that can be known: its id, or the *fields* of it."""
        found = list(self._plain[kind].find(wanted, dict.fromkeys(fields, 1)))
        if not found:
            return None
        bson = self._chance.choice(found)
        return tuple(bson[name] for name in fields) if fields else bson["_id"]
