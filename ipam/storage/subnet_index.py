"""By what subnets are found: an index of them that is kept by hand.

A subnet is written with every batch of requests, because its ledger is, and with it every index of its collection
would be. So that has none but `_id`, and here stands what else a subnet is found by, which hardly ever changes:
what users wrote on it, and where its addresses lie. Those of a pool the pool itself knows, by their ranges.

It may say too much and never too little; readers check the subnet as well.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from bson import ObjectId
from pymongo.database import Database

from ipam.models import metadata as meta
from ipam.models.addresses import Address
from ipam.models.cidr_cover import around_in_subnets, prefixes_of_subnet
from ipam.models.subnet import Subnet
from ipam.storage.connection import insert_missing, keys_among, speaks_mongo
from ipam.storage.query import Query, keys_having


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

    def widen(self, id_: ObjectId, revision: int, facets: Sequence[str]) -> None:
        """Let a subnet also be found by the *facets* that a *revision* has which is about to be written."""
        also = {"$addToSet": {"facets": {"$each": list(facets)}}, "$max": {"revision": revision}}
        self._collection.update_one({"_id": id_}, also)

    def narrow(self, subnet: Subnet) -> None:
        """Reduce the entry to what was written on the subnet, unless another write is about to follow.

        Of the processes that want to make the same revision of a subnet only one can; and one that makes the next
        has said so before that.
        """
        self._collection.update_one(
            {"_id": subnet.id, "revision": subnet.revision}, {"$set": {"facets": _facets(subnet)}}
        )

    def leave(self, id_: ObjectId) -> None:
        """Let the subnet not be found any more."""
        self._collection.delete_one({"_id": id_})

    def having(self, query: Query) -> Iterator[ObjectId]:
        """Yield the subnets that may have the facets of *query*, from its cursor on; ascending."""
        yield from keys_having(self._collection, query)

    def around(self, address: Address) -> list[ObjectId]:
        """Return the subnets that may hold *address*, in the order of their ids."""
        return keys_among(self._collection, "prefixes", around_in_subnets(address))


def _facets(subnet: Subnet) -> list[str]:
    return meta.facets(subnet.name, subnet.tags, subnet.metadata)
