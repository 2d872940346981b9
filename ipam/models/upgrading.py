"""Bringing over databases that were written in an older form.

That form is known by an index that today's has not, and which goes last, or that only today's has, and which is
created afterwards: so what was cut short is done again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from ipaddress import ip_network
from typing import Any

from bson import ObjectId
from pymongo import UpdateOne, timeout
from pymongo.collection import Collection
from pymongo.database import Database
from pymongo.errors import OperationFailure
from pyroaring import BitMap, FrozenBitMap

from ipam.models import metadata as meta
from ipam.models.address_sets import BLOCK_BITS, BLOCK_SIZE, AddressSet
from ipam.models.addresses import Address, from_bytes, to_place
from ipam.models.blocks import Block
from ipam.models.clock import utc_now
from ipam.models.connection import chunks, insert_missing, speaks_mongo
from ipam.models.documents import ReservationState, Subnet, SubnetState
from ipam.models.events import Event
from ipam.models.holdings import Holding, lease_key, stem_of
from ipam.models.keys import KEEP_ANSWERS, KEEP_JOBS, KEEP_TOMBSTONES, OPEN, UNFINISHED, minute_of
from ipam.models.leases import FORMER_IDS
from ipam.models.ledgers import Grant, Ledger, Release
from ipam.models.prefixes import prefixes_of_all
from ipam.models.subnet_index import SubnetIndex

Bson = dict[str, Any]
# Released leases stood in a queue, and not in bitmaps.
_QUEUE = "queue"
# Ranges were kept without their family, and a CIDR without its ends.
_BY_START = "by_start"
# Numbers were found as they were spelt, and keys with dots in them like keys within keys.
_BY_FACET = "by_name_tag_or_metadata"
# Leases knew their reservation, and that did not know them.
_OF_RESERVATION = "of_reservation"
# Ids of leases said nothing of where they are.
_BY_ID = "by_id"
# Leases, and later subnets, had indexes of what users wrote on them.
_BY_WRITTEN, _UNTOLD = "by_facet", "untold"
_WAITING = "waiting"
# Subnets had indexes, which were written with each ledger.
_SUBNETS_BY_ADDRESS, _OF_POOL = "by_low", "of_pool"
# Each question had an index of its own, and the database removed what was kept long enough.
_FORGET = "forget"
_INDEXES_OF_RESERVATIONS = ("of_subnet", "of_lease", "unfinished", _FORGET, _OF_POOL)
# Logs without it said nothing of addresses that could be looked for.
_BY_PREFIX = "by_prefix"
# It goes through all leases, once in the life of a database.
_LONGEST_S = 3600.0
_CHUNK = 1000

# A subnet and the number of one of its blocks.
BlockOf = tuple[bytes, int]


@speaks_mongo
class Upgrade:
    """To do it again changes nothing; no process of the version before may run meanwhile."""

    def __init__(self, database: Database[Any]) -> None:
        self._pools = database["pools"]
        self._subnets = database["subnets"]
        self._reservations = database["reservations"]
        self._leases = database["leases"]
        self._blocks = database["blocks"]
        self._jobs = database["jobs"]
        self._former_ids = database[FORMER_IDS]
        self._marks = database["marks"]
        self._subnet_index = SubnetIndex(database)
        self._idempotency = database["idempotency"]
        self._log = database["log"]

    def run(self) -> list[str]:
        """Bring over what has an old form; returns lines that say what was done, if anything."""
        with timeout(_LONGEST_S):
            done = self._queue_to_bitmaps() if _QUEUE in self._leases.index_information() else []
            done += self._write_places() if _BY_START in self._subnets.index_information() else []
            done += self._write_facets()
            done += self._write_holdings() if _OF_RESERVATION in self._leases.index_information() else []
            done += self._write_former_ids() if _BY_ID in self._leases.index_information() else []
            done += self._write_marks() if _UNTOLD in self._leases.index_information() else []
            done += self._index_subnets() if _OF_POOL in self._subnets.index_information() else []
            done += self._write_keys() if _OF_POOL in self._reservations.index_information() else []
            return done + (self._write_prefixes() if _BY_PREFIX not in self._log.index_information() else [])

    def _queue_to_bitmaps(self) -> list[str]:
        # Queue and ordinals stay until no ledger refers to them.
        self._leases.update_many({"entry": {"$exists": False}}, {"$set": {"entry": 0}})
        known = self._write_blocks()
        subnets = self._write_ledgers(known)
        old = {"slot": 1, "released_at": 1, "ordinal": 1}
        self._leases.update_many({"$or": [{name: {"$exists": True}} for name in old]}, {"$unset": old})
        _drop_index(self._leases, _QUEUE)
        leases = sum(map(len, known.values()))
        return [f"brought over: {subnets} ledgers and {leases} leases, from a queue to bitmaps"]

    def _write_places(self) -> list[str]:
        written = 0
        for bson in self._subnets.find({"low": {"$exists": False}}):
            start, end = from_bytes(bson["start"]), from_bytes(bson["end"])
            network = ip_network(bson["cidr"]) if bson["cidr"] else (start, end)
            low, high = to_place(network[0]), to_place(network[-1])
            self._pools.update_one(
                {"_id": bson["pool"], "ranges.subnet": bson["_id"]},
                {"$set": {"ranges.$.start": low, "ranges.$.end": high}},
            )
            places = {"start": to_place(start), "end": to_place(end), "low": low, "high": high}
            self._subnets.update_one({"_id": bson["_id"], "low": {"$exists": False}}, {"$set": places})
            written += 1
        _drop_index(self._subnets, _BY_START)
        return [f"brought over: {written} subnets, with the whole of their ranges"]

    def _write_facets(self) -> list[str]:
        done = []
        for collection in (self._pools, self._subnets, self._reservations, self._leases):
            if _BY_FACET not in collection.index_information():
                continue
            written = 0
            for bson in collection.find({"metadata": {"$exists": True, "$ne": "null"}}):
                facets = meta.facets(bson["name"], bson["tags"], meta.decode(bson["metadata"]))
                as_read = {name: bson[name] for name in ("_id", "revision")}
                written += collection.update_one(as_read, {"$set": {"facets": facets}}).modified_count
            _drop_index(collection, _BY_FACET)
            done.append(f"brought over: {written} {collection.name}, to be found by exact metadata")
        return done

    def _write_holdings(self) -> list[str]:
        written = 0
        unknown = {"holdings": {"$exists": False}, "state": {"$ne": ReservationState.RELEASED.value}}
        for bson in self._reservations.find(unknown, {"_id": 1}):
            held: dict[ObjectId, list[Address]] = {}
            for lease in self._leases.find({"reservation": bson["_id"]}, {"subnet": 1}):
                held.setdefault(lease["subnet"], []).append(from_bytes(lease["_id"][12:]))
            holdings = [Holding(subnet, AddressSet.of(addresses)).to_bson() for subnet, addresses in held.items()]
            changed = self._reservations.update_one({**bson, **unknown}, {"$set": {"holdings": holdings}})
            written += changed.modified_count
        # Releases went through subnets, and now go through addresses: from the beginning, with what is left.
        self._jobs.update_many({"position": {"$gt": 0}}, {"$unset": {"position": 1}})
        _drop_index(self._leases, _OF_RESERVATION)
        return [f"brought over: {written} reservations, with the addresses that they hold"]

    def _write_former_ids(self) -> list[str]:
        written = 0
        for some in chunks(self._leases.find({"lease": {"$exists": True}}, {"lease": 1}), _CHUNK):
            insert_missing(self._former_ids, [{"_id": lease["lease"], "key": lease["_id"]} for lease in some])
            written += len(some)
        _drop_index(self._leases, _BY_ID)
        return [f"brought over: {written} leases, to be found by their ids"]

    def _write_marks(self) -> list[str]:
        written = 0
        marked = {"$or": [{"facets.0": {"$exists": True}}, {"outbox_since": {"$exists": True}}]}
        for some in chunks(self._leases.find(marked, {"facets": 1, "outbox_since": 1}), _CHUNK):
            untold = {one["_id"]: {"changed_at": one["outbox_since"]} for one in some if "outbox_since" in one}
            marks = [
                {"_id": one["_id"], "writes": 0, "facets": one.get("facets", []), **untold.get(one["_id"], {})}
                for one in some
            ]
            insert_missing(self._marks, marks)
            written += len(marks)
        for index in _BY_WRITTEN, _UNTOLD:
            _drop_index(self._leases, index)
        return [f"brought over: {written} leases, with marks of what is written on them"]

    def _index_subnets(self) -> list[str]:
        written = 0
        for bson in self._subnets.find({"state": {"$ne": SubnetState.DELETED.value}}):
            self._subnet_index.enter(Subnet.from_bson(bson))
            written += 1
        for index in _BY_WRITTEN, _UNTOLD, _SUBNETS_BY_ADDRESS, _OF_POOL:
            _drop_index(self._subnets, index)
        return [f"brought over: {written} subnets, with an index of their own"]

    def _write_keys(self) -> list[str]:
        written = self._key(self._reservations, _keys_of_reservation, "released_at", "stem")
        written += self._key(self._jobs, _keys_of_job, "waiting")
        written += self._key(self._pools, _keys_of_pool, "deleted_at")
        written += self._key(self._idempotency, _keys_of_answer)
        for index in _WAITING, _FORGET:
            _drop_index(self._jobs, index)
        for collection in self._pools, self._idempotency:
            _drop_index(collection, _FORGET)
        for index in _INDEXES_OF_RESERVATIONS:
            _drop_index(self._reservations, index)
        return [f"brought over: {written} documents, with the keys by which they are found"]

    def _key(self, collection: Collection[Any], keys: Callable[[Bson], list[Any]], *former: str) -> int:
        """Give each document that is to have any its *keys*, in the place of *former* fields."""
        written = 0
        unset = dict.fromkeys(former, 1)
        for some in chunks(collection.find({"keys": {"$exists": False}}), _CHUNK):
            updates = [
                UpdateOne(
                    {"_id": bson["_id"], "keys": {"$exists": False}},
                    {"$set": {"keys": found}, **({"$unset": unset} if unset else {})},
                )
                for bson in some
                if (found := keys(bson))
            ]
            if updates:
                written += collection.bulk_write(updates, ordered=False).modified_count
        return written

    def _write_prefixes(self) -> list[str]:
        written = 0
        for group in self._log.find({"prefixes": {"$exists": False}}):
            prefixes = prefixes_of_all(map(Event.from_bson, group["events"]))
            self._log.update_one({"_id": group["_id"]}, {"$set": {"prefixes": prefixes}})
            written += len(group["events"])
        return [f"brought over: {written} events, to be found by address"] if written else []

    def _write_blocks(self) -> dict[BlockOf, BitMap]:
        """Write the blocks; returns which addresses have a lease document, by subnet and block."""
        taken: dict[BlockOf, BitMap] = {}
        known: dict[BlockOf, BitMap] = {}
        for bson in self._leases.find({}, {"reservation": 1}):
            block, position = _split(bson["_id"])
            known.setdefault(block, BitMap()).add(position)
            if "reservation" in bson:
                taken.setdefault(block, BitMap()).add(position)
        blocks = [
            Block(
                subnet=ObjectId(subnet),
                number=number,
                version=1,
                taken=FrozenBitMap(taken.get((subnet, number), ())),
                known=FrozenBitMap(positions),
            ).to_bson()
            for (subnet, number), positions in known.items()
        ]
        for first in range(0, len(blocks), _CHUNK):
            insert_missing(self._blocks, blocks[first : first + _CHUNK])
        return known

    def _write_ledgers(self, known: Mapping[BlockOf, BitMap]) -> int:
        written = 0
        for subnet in self._subnets.find({"ledger.head": {"$exists": True}}):
            old = subnet["ledger"]
            ledger = Ledger(
                version=old["version"] + 1,
                used=old["used"],
                grants=tuple(self._grant(subnet, grant, known) for grant in old["grants"]),
                releases=tuple(self._release(subnet, release) for release in old["releases"]),
            )
            changed = self._subnets.update_one(
                {"_id": subnet["_id"], "ledger.head": {"$exists": True}, "ledger.version": old["version"]},
                {"$set": {"ledger": ledger.to_bson()}},
            )
            written += changed.modified_count
        return written

    def _grant(self, subnet: Bson, old: Bson, known: Mapping[BlockOf, BitMap]) -> Grant:
        id_ = subnet["_id"]
        # One that has a document was handed out; it may be somebody else's by now.
        fresh = [one for one in _fresh(subnet, old) if not _is_known(id_, one, known)]
        addresses = [*fresh, *self._queued(id_, *old["recycled"]), *self._held(id_, old["reservation"], {})]
        return Grant(
            batch=old["batch"],
            job=old["job"],
            reservation=old["reservation"],
            addresses=AddressSet.of(addresses),
            version=subnet["ledger"]["version"] + 1,
            at=old["at"],
        )

    def _release(self, subnet: Bson, old: Bson) -> Release:
        id_, grant = subnet["_id"], old["grant"]
        back_already = self._queued(id_, old["first"], old["first"] + old["span"])
        addresses = list(back_already)
        if grant is not None:
            addresses += [*_fresh(subnet, grant), *self._queued(id_, *grant["recycled"])]
        else:
            one = {"lease": old["lease"]} if old["lease"] else {}
            addresses += self._held(id_, old["reservation"], one)
        return Release(
            id=old["id"],
            reservation=old["reservation"],
            addresses=AddressSet.of(addresses),
            is_partial=old["lease"] is not None,
            at=old["at"],
        )

    def _queued(self, subnet: ObjectId, first: int, end: int) -> Iterator[Address]:
        """The addresses at places of the queue from *first* to before *end*."""
        low, high = (subnet.binary + place.to_bytes(8, "big") for place in (first, end))
        return self._addresses({"slot": {"$gte": low, "$lt": high}})

    def _held(self, subnet: ObjectId, reservation: ObjectId, more: Bson) -> Iterator[Address]:
        return self._addresses({"reservation": reservation, "subnet": subnet, **more})

    def _addresses(self, wanted: Bson) -> Iterator[Address]:
        return (from_bytes(bson["_id"][12:]) for bson in self._leases.find(wanted, {"_id": 1}))


def _drop_index(collection: Collection[Any], name: str) -> None:
    """Drop an index, unless another process that started at the same time was faster."""
    try:
        collection.drop_index(name)
    except OperationFailure:
        if name in collection.index_information():
            raise


def _keys_of_reservation(bson: Bson) -> list[Any]:
    if bson["state"] == ReservationState.RELEASED.value:
        return _minute_after(bson, "released_at", KEEP_TOMBSTONES)
    unfinished = [UNFINISHED] if "unfinished" in bson else []
    return [bson["pool"], *bson["subnets"], stem_of(bson["_id"]), *unfinished]


def _keys_of_job(bson: Bson) -> list[Any]:
    return _minute_after(bson, "finished_at", KEEP_JOBS) or [bson["target"], OPEN]


def _keys_of_pool(bson: Bson) -> list[Any]:
    return _minute_after(bson, "deleted_at", KEEP_TOMBSTONES)


def _keys_of_answer(bson: Bson) -> list[Any]:
    return _minute_after(bson, "created_at", KEEP_ANSWERS)


def _minute_after(bson: Bson, name: str, kept: timedelta) -> list[Any]:
    """The minute when a document may go that is *kept* from a time on; none if it has no such time.

    Not before tomorrow, for nobody looks any more for what may have gone yesterday.
    """
    since = bson.get(name)
    return [minute_of(max(since + kept, utc_now() + timedelta(days=1)))] if since else []


def _split(key: bytes) -> tuple[BlockOf, int]:
    """Subnet, block and position of a lease, from its `_id`."""
    number = int.from_bytes(key[12:], "big")
    return (key[:12], number >> BLOCK_BITS), number % BLOCK_SIZE


def _is_known(subnet: ObjectId, address: Address, known: Mapping[BlockOf, BitMap]) -> bool:
    block, position = _split(lease_key(subnet, address))
    return position in known.get(block, ())


def _fresh(subnet: Bson, grant: Bson) -> Iterator[Address]:
    start = from_bytes(subnet["start"])
    return (start + offset + n for offset, count in grant["fresh"] for n in range(count))
