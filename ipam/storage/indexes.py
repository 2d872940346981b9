"""Every index, each with the question that it answers.

Sparse and not partial ones throughout: both keep documents without the field out, and sparse ones also serve
servers that cannot plan a query by a partial index.
"""

from __future__ import annotations

from typing import Any

from pymongo import ASCENDING, IndexModel
from pymongo.database import Database

from ipam.storage.connection import speaks_mongo

_FACETS = IndexModel("facets", name="by_facet", sparse=True)  # lists filtered by what users wrote
# Events in outboxes: when they are old, their process has died.
_UNTOLD = IndexModel("outbox_since", name="untold", sparse=True)
# What is created, deleted or otherwise on its way, and may have been left behind.
_UNFINISHED = IndexModel("unfinished", name="unfinished", sparse=True)
# What else a document is found by; see `ipam.models.search_keys`.
_KEYS = IndexModel("keys", name="by_key", sparse=True)

INDEXES: dict[str, list[IndexModel]] = {
    "pools": [_FACETS, _UNTOLD, _UNFINISHED, _KEYS],
    # A ledger is written twice a batch, so it has no other; this one is changed by the first of these writes.
    "ledgers": [_UNFINISHED],
    # A pool knows its subnets.
    "subnets": [
        _FACETS,
        _UNTOLD,
        # Those that may have an address.
        IndexModel("prefixes", name="by_prefix", sparse=True),
        _UNFINISHED,
        # Tombstones, which go some day.
        IndexModel("deleted_at", name="by_deletion", sparse=True),
    ],
    # Those of a pool or a subnet in the order in which they are listed.
    "reservations": [_FACETS, _UNTOLD, IndexModel([("keys", ASCENDING), ("_id", ASCENDING)], name="by_key")],
    # Leases have none but `_id`, subnet and address, which makes an address single: most of what it costs to write
    # a lease would be its indexes. A reservation knows the keys of its leases, and this what users wrote on some.
    "marks": [
        _FACETS,
        # Leases that were written on a while ago, and perhaps not told of.
        IndexModel("changed_at", name="untidy", sparse=True),
    ],
    # The blocks of a subnet in their order, for its deletion and for surveys; other reads are by exact key.
    "blocks": [IndexModel([("subnet", ASCENDING), ("_id", ASCENDING)], name="in_order")],
    "jobs": [_UNTOLD, _KEYS],
    "log": [
        # Whether an event is there already.
        IndexModel("ids", name="by_event"),
        # What happened to a resource and to all that is in it, in order.
        IndexModel([("paths", ASCENDING), ("_id", ASCENDING)], name="by_path"),
        # The history of an address.
        IndexModel([("prefixes", ASCENDING), ("_id", ASCENDING)], name="by_prefix"),
        # What comes next, by an exact key: one for each hundred sequences.
        IndexModel("hundreds", name="by_hundred"),
    ],
    "idempotency": [_KEYS],
    "tokens": [_FACETS, _UNTOLD, _KEYS],
}


@speaks_mongo
class Indexes:
    """Creates what is missing; to do so again changes nothing."""

    def __init__(self, database: Database[Any]) -> None:
        self._database = database

    def create(self) -> list[str]:
        """Create all indexes and return their names as `collection.index`."""
        return [
            f"{collection}.{name}"
            for collection, indexes in INDEXES.items()
            for name in self._database[collection].create_indexes(indexes)
        ]
