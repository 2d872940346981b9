"""Whether the guarantees hold: what the documents say, beside what the book says that clients were told."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import Any

from bson import ObjectId
from mongomock import Database

from ipam.models.address_set import AddressSet
from ipam.models.addresses import from_bytes, from_place
from ipam.models.block import Block
from ipam.models.cidr_cover import around_in_subnets
from ipam.models.ledger import Ledger
from ipam.models.reservation import Reservation
from ipam.models.reserved_addresses import key_at, split_lease_id, stem_of
from ipam.models.search_keys import KEEP_JOBS, minute_of
from tests.simulation.book import Book, Wish
from tests.simulation.database import POISON
from tests.simulation.telling import faults_of_events

Bson = dict[str, Any]
_ACTIVE = {"state": "active"}


def doubled_addresses(plain: Database) -> list[str]:
    """Guarantee 1, at every moment: addresses of a pool that two leases hold."""
    held = Counter((lease["pool"], lease["_id"][12:]) for lease in _held(plain))
    return [f"{from_bytes(address)} is held twice in pool {pool}" for (pool, address), n in held.items() if n > 1]


def open_without_subnet(plain: Database) -> list[str]:
    """At every moment: ledgers that are open and whose subnet is not shown."""
    shown = {subnet["_id"] for subnet in plain["subnets"].find(_ACTIVE, {"_id": 1})}
    found = (ledger["_id"] for ledger in plain["ledgers"].find({"state": "open"}, {"_id": 1}))
    return [f"the ledger of subnet {id_} is open, and the subnet is not shown" for id_ in found if id_ not in shown]


def faults_at_rest(plain: Database, book: Book) -> list[str]:
    """Everything that must not be when nobody is at work any more."""
    return [
        *doubled_addresses(plain),
        *_of_pools(plain),
        *_of_subnets(plain),
        *_of_reservations(plain),
        *_of_leases(plain),
        *_of_marks(plain),
        *_of_keys(plain),
        *_of_jobs(plain, book),
        *_of_deletions(plain, book),
        *faults_of_events(plain),
        *(fault for wish in book.wishes for fault in _of_wish(plain, book, wish)),
    ]


def _held(plain: Database) -> list[Bson]:
    return list(plain["leases"].find({"reservation": {"$exists": True}}))


def _is_there(plain: Database, kind: str, id_: ObjectId) -> bool:
    return plain[kind].count_documents({"_id": id_, **_ACTIVE}) > 0


def _of_pools(plain: Database) -> Iterator[str]:
    for pool in plain["pools"].find({}):
        if pool["state"] == "deleting":
            yield f"pool {pool['_id']} is for ever being deleted"
        for held in pool["ranges"]:
            subnet = plain["subnets"].find_one({"_id": held["subnet"]})
            # A creation that slept can leave the range of a deleted subnet: it is dropped when it is in the way.
            if subnet is None or subnet["state"] not in ("active", "deleted"):
                yield f"pool {pool['_id']} holds a range for subnet {held['subnet']}, which is not there"


def _of_subnets(plain: Database) -> Iterator[str]:
    ledgers = {bson["_id"]: Ledger.from_bson(bson) for bson in plain["ledgers"].find({})}
    for subnet in plain["subnets"].find({"state": {"$ne": "deleted"}}):
        id_, ledger = subnet["_id"], ledgers.pop(subnet["_id"], None)
        if subnet["state"] != "active":
            yield f"subnet {id_} is for ever {subnet['state']}"
            continue
        if not plain["pools"].count_documents({"_id": subnet["pool"], **_ACTIVE, "ranges.subnet": id_}):
            yield f"subnet {id_} outlives its pool, or its range there"
        if not set(around_in_subnets(from_place(subnet["start"]))) & set(subnet["prefixes"]):
            yield f"subnet {id_} is not found by its address"
        if ledger is None or not ledger.is_open:
            yield f"subnet {id_} has no ledger, or one that is for ever closed"
        else:
            yield from _of_ledger(plain, ledger)
    for id_, ledger in ledgers.items():
        if ledger.entries or ledger.used or ledger.unfinished is not None:
            yield f"the ledger of subnet {id_}, which is deleted, has something left"


def _of_ledger(plain: Database, ledger: Ledger) -> Iterator[str]:
    """An open ledger, and the blocks of its subnet, say what the leases say."""
    leases = sum(lease["subnet"] == ledger.id for lease in _held(plain))
    if ledger.used != leases:
        yield f"subnet {ledger.id} has {ledger.used} used and {leases} leases"
    if ledger.entries:
        yield f"subnet {ledger.id} has something left in its ledger"
    yield from _of_blocks(plain, ledger)


def _of_blocks(plain: Database, ledger: Ledger) -> Iterator[str]:
    """The blocks of a subnet say what its leases say."""
    blocks = {block.number: block for block in map(Block.from_bson, plain["blocks"].find({"subnet": ledger.id}))}
    leases = list(plain["leases"].find({"subnet": ledger.id}))
    known = AddressSet.of(from_bytes(lease["_id"][12:]) for lease in leases)
    taken = AddressSet.of(from_bytes(lease["_id"][12:]) for lease in leases if "reservation" in lease)
    if AddressSet.of_blocks({number: block.taken for number, block in blocks.items()}) != taken:
        yield f"the blocks of subnet {ledger.id} take other addresses than those of its leases {list(taken)}"
    if AddressSet.of_blocks({number: block.known for number, block in blocks.items()}) != known:
        yield f"the blocks of subnet {ledger.id} know other leases than {list(known)}"
    for first, last in ledger.full:
        for number in range(first, last + 1):
            if ledger.space.positions(number) - blocks[number].taken:
                yield f"block {number} of subnet {ledger.id} is not full"


def _of_reservations(plain: Database) -> Iterator[str]:
    held = defaultdict(list)
    for lease in _held(plain):
        held[lease["reservation"]].append(lease)
    for one in plain["reservations"].find({"state": {"$ne": "released"}}):
        id_ = one["_id"]
        if one["state"] != "active":
            yield f"reservation {id_} is for ever {one['state']}"
        if not one["count"]:
            yield f"reservation {id_} holds nothing"
        yield from _of_holdings(Reservation.from_bson(one), held[id_])
        if one["count"] != len(held[id_]):
            yield f"reservation {id_} has count {one['count']} and {len(held[id_])} leases"
        for subnet in one["subnets"]:
            if not _is_there(plain, "subnets", subnet):
                yield f"reservation {id_} is of subnet {subnet}, which is not there"


def _of_holdings(one: Reservation, leases: list[Bson]) -> Iterator[str]:
    """The leases of a reservation are where it says, and their ids lead there."""
    if list(one.lease_keys()) != sorted(lease["_id"] for lease in leases):
        yield f"reservation {one.id} knows other addresses than those of its leases"
    for lease in leases:
        stem, rank = split_lease_id(lease["lease"])
        if (stem, key_at(rank, one.holdings)) != (stem_of(one.id), lease["_id"]):
            yield f"lease {lease['lease']} is not found by its id"


def _of_leases(plain: Database) -> Iterator[str]:
    for lease in _held(plain):
        for kind in ("subnet", "reservation"):
            if not _is_there(plain, f"{kind}s", lease[kind]):
                yield f"lease {lease['lease']} is of {kind} {lease[kind]}, which is not there"


def _of_marks(plain: Database) -> Iterator[str]:
    """Every lease is found by what it has; that was only forgotten of those that were given back."""
    marks = {mark["_id"]: mark["facets"] for mark in plain["marks"].find({})}
    for lease in _held(plain):
        if not set(lease.get("facets", ())) <= set(marks.get(lease["_id"], ())):
            yield f"lease {lease['lease']} has {lease['facets']} and is found by {marks.get(lease['_id'])}"


def _of_keys(plain: Database) -> Iterator[str]:
    """What is there is found by what it is of; what is over, by when it may go."""
    for one in plain["reservations"].find(_ACTIVE):
        if set(one["keys"]) != {one["pool"], *one["subnets"], stem_of(one["_id"])}:
            yield f"reservation {one['_id']} has the keys {one['keys']}"
    for one in plain["reservations"].find({"state": "released"}):
        if not (len(one["keys"]) == 1 and isinstance(one["keys"][0], int)):
            yield f"reservation {one['_id']} is released and has the keys {one['keys']}"
    for job in plain["jobs"].find({"finished_at": {"$ne": None}}):
        if job["keys"] != [minute_of(job["finished_at"] + KEEP_JOBS)]:
            yield f"job {job['_id']} has ended and has the keys {job['keys']}"


def _of_jobs(plain: Database, book: Book) -> Iterator[str]:
    for job in plain["jobs"].find({"state": {"$ne": "succeeded"}}):
        name = f"job {job['_id']}"
        if not _may_have_ended_so(plain, book, job):
            yield f"{name} is {job['state']}: {job['error']}"
        if _is_there(plain, "reservations", job["reservation"]):
            yield f"{name} is {job['state']} and has a reservation"


def _may_have_ended_so(plain: Database, book: Book, job: Bson) -> bool:
    if job["state"] == "cancelled":
        return f"/jobs/{job['_id']}" in book.doomed
    target = f"/{'subnets' if job['subnet'] else 'pools'}/{job['target']}"
    match json.loads(job["error"])["slug"] if job["state"] == "failed" else "":
        case "exhausted" | "rejected" | "unavailable":
            return True
        case "not-found":
            return _doomed(plain, book, target)
        case "given-up":
            return POISON in job["request"]
        case "address-taken" | "invalid":
            return "addresses" in json.loads(job["request"])
    return False


def _of_deletions(plain: Database, book: Book) -> Iterator[str]:
    for path in book.gone:
        kind, id_ = _parts(path)
        wanted = {
            "leases": {"lease": id_},
            "jobs": {"_id": id_, "state": {"$ne": "cancelled"}},
        }.get(kind, {"_id": id_, **_ACTIVE})
        if plain[kind].count_documents(wanted):
            yield f"{path} is there, though its deletion was answered with success"


def _of_wish(plain: Database, book: Book, wish: Wish) -> Iterator[str]:
    """What one POST was told, each time it was sent, beside what came of it."""
    final = {(answer.status, answer.location) for answer in wish.answers if answer.final}
    if any(status == 201 and _doomed(plain, book, path) for status, path in final):
        # Its answer may not have been kept, when the database failed just then; and what it made is gone since, so
        # that the same request is refused: as not found, or for what has taken its place.
        final = {(status, path) for status, path in final if status < 400}
    pending = {answer.location for answer in wish.answers if answer.status == 202}
    jobs = {path: plain["jobs"].find_one({"_id": _parts(path)[1]}) for path in pending}
    counting = [path for path, job in jobs.items() if job is None or not _may_be_tried_anew(job)]
    if len(final) > 1 or len(counting) > 1:
        yield f"POST {wish.path} with key {wish.key} was answered {final} and {counting}"
        return
    for path, job in jobs.items():
        if job is None:
            yield f"POST {wish.path} was accepted as {path}, which is not there"
    for status, path in final:
        if status == 201:
            yield from _of_creation(plain, book, wish, path)
        else:
            yield from _of_refusal(plain, wish, status)


def _may_be_tried_anew(job: Bson) -> bool:
    """Whether *job* has failed for a reason that may pass: then its request may be sent again under its key."""
    return job["state"] == "failed" and json.loads(job["error"])["slug"] in ("unavailable", "given-up")


def _of_refusal(plain: Database, wish: Wish, status: int) -> Iterator[str]:
    """Nothing is there of what could be created under a key and was not."""
    record = plain["idempotency"].find_one({"_id": wish.key})
    for kind in ("pools", "subnets"):
        if record is not None and _is_there(plain, kind, record["resource"]):
            yield f"POST {wish.path} was answered with {status}, and /{kind}/{record['resource']} is there"


def _of_creation(plain: Database, book: Book, wish: Wish, path: str) -> Iterator[str]:
    kind, id_ = _parts(path)
    there = plain[kind].find_one({"_id": id_, **_ACTIVE})
    given_back = len(book.given_back.get(str(id_), ())) if kind == "reservations" else 0
    is_over = bool(given_back) and given_back >= _asked(wish)  # One by one, and with the last of them it went.
    if there is None and not is_over and not _doomed(plain, book, path):
        yield f"{path} was created and is not there"
    if there is not None and kind == "reservations":
        yield from _of_count(plain, book, wish, there)


def _asked(wish: Wish) -> int:
    """How many addresses a *wish* is for."""
    return len(wish.body.get("addresses", ())) or int(wish.body["count"])


def _of_count(plain: Database, book: Book, wish: Wish, reservation: Bson) -> Iterator[str]:
    """A reservation has what it was asked for, but for what was given back or went with a subnet."""
    id_, asked = reservation["_id"], _asked(wish)
    back = book.given_back.get(str(id_), set())
    most = asked - len(back & book.gone)
    least = asked - len(back)
    if any(path.startswith(("/subnets", "/pools")) for path in book.doomed):
        least = 0
    held = [from_bytes(lease["_id"][12:]) for lease in plain["leases"].find({"reservation": id_})]
    if not least <= len(held) <= most:
        yield f"reservation {id_} holds {len(held)}, not {least} to {most}"
    if not set(map(str, held)) <= set(wish.body.get("addresses", map(str, held))):
        yield f"reservation {id_} holds {held}, which is not what it asked for"
    if wish.body.get("contiguous") and held and int(max(held)) - int(min(held)) >= asked:
        yield f"reservation {id_} holds {held}, which are not in a row"


def _doomed(plain: Database, book: Book, path: str) -> bool:
    """Whether somebody asked to delete *path* or what it is in."""
    if path in book.doomed:
        return True
    kind, id_ = _parts(path)
    bson = plain[kind].find_one({"_id": id_}) or {}
    around = [f"/pools/{bson['pool']}"] if "pool" in bson else []
    around += [f"/subnets/{subnet}" for subnet in bson.get("subnets", ())]
    if not around:  # Its document is gone, or does not say any more what it was in.
        return any(other.startswith(("/subnets", "/pools")) for other in book.doomed)
    return bool(book.doomed.intersection(around))


def _parts(path: str) -> tuple[str, ObjectId]:
    _, kind, id_ = path.split("/")
    return kind, ObjectId(id_)
