"""By what subnets are found: an index of them that is kept by hand.

A subnet is written with every batch of requests, because its ledger is, and with it every index of its collection
would be. So that has none but `_id`, and here stands what else a subnet is found by, which hardly ever changes:
what users wrote on it, and where its addresses lie. Those of a pool the pool itself knows, by their ranges.

It may say too much and never too little; who reads by it looks at the subnet as well.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from bson import ObjectId
from pymongo import ASCENDING
from pymongo.database import Database

from ipam.models import metadata as meta
from ipam.models.addresses import Address
from ipam.models.connection import KEYS_CHUNK, chunks, insert_missing, speaks_mongo
from ipam.models.documents import Subnet
from ipam.models.prefixes import around_in_subnets, prefixes_of_subnet
from ipam.models.store import Query


@speaks_mongo
class SubnetIndex:
    """The collection `subnet_index`."""

    def __init__(self, database: Database[Any]) -> None:
        self._collection = database["subnet_index"]

    def enter(self, subnet: Subnet) -> None:
        """Let *subnet*, which is about to be shown, be found; to do it again changes nothing."""
        entry = {
            "_id": subnet.id,
            "facets": _facets(subnet),
            "prefixes": prefixes_of_subnet(subnet.held),
            "revision": subnet.revision,
        }
        insert_missing(self._collection, [entry])

    def widen(self, subnet: Subnet) -> None:
        """Let a subnet also be found by what is about to be written on it: *subnet* is as it will be then."""
        self._collection.update_one(
            {"_id": subnet.id},
            {"$addToSet": {"facets": {"$each": _facets(subnet)}}, "$max": {"revision": subnet.revision}},
        )

    def narrow(self, subnet: Subnet) -> None:
        """Let it be found only by what was written on it, unless somebody is about to write on it again.

        Of those who want to make the same revision of a subnet only one can; and who wants to make the next has
        said so before that.
        """
        self._collection.update_one(
            {"_id": subnet.id, "revision": subnet.revision}, {"$set": {"facets": _facets(subnet)}}
        )

    def leave(self, id_: ObjectId) -> None:
        """Let the subnet not be found any more."""
        self._collection.delete_one({"_id": id_})

    def having(self, query: Query) -> Iterator[ObjectId]:
        """The subnets that may have the facets of *query*, from its cursor on."""
        wanted = Query(facets=query.facets, cursor=query.cursor).to_filter({})
        for bson in self._collection.find(wanted, {"_id": 1}).sort("_id", ASCENDING):
            yield bson["_id"]

    def around(self, address: Address) -> list[ObjectId]:
        """The subnets that may hold *address*, in the order of their ids."""
        found: set[ObjectId] = set()
        for chunk in chunks(around_in_subnets(address), KEYS_CHUNK):
            found.update(bson["_id"] for bson in self._collection.find({"prefixes": {"$in": chunk}}, {"_id": 1}))
        return sorted(found)


def _facets(subnet: Subnet) -> list[str]:
    return meta.facets(subnet.name, subnet.tags, subnet.metadata)
