"""All stores of one database."""

from __future__ import annotations

from typing import Any

from pymongo.database import Database

from ipam.storage.blocks import BlockStore
from ipam.storage.bulk_writes import BulkWriter
from ipam.storage.connection import Store
from ipam.storage.event_log import EventLogStore
from ipam.storage.idempotency import IdempotencyStore
from ipam.storage.indexes import Indexes
from ipam.storage.jobs import JobStore
from ipam.storage.leader_lease import LeaderLeaseStore
from ipam.storage.leases import LeaseStore
from ipam.storage.ledgers import LedgerStore
from ipam.storage.outbox import EventStore
from ipam.storage.pools import PoolStore
from ipam.storage.positions import PositionStore
from ipam.storage.purge import PurgeStore
from ipam.storage.reservations import ReservationStore
from ipam.storage.schema import SchemaStore
from ipam.storage.subnets import SubnetStore
from ipam.storage.tokens import TokenStore


class Stores:
    """A store for each collection; *servers* and *source* say in messages where the database is."""

    def __init__(self, database: Database[Any], servers: str = "", source: str = "--mongo") -> None:
        self.whole = Store(database, servers, source)
        self.writer = BulkWriter(database)
        self.indexes = Indexes(database)
        self.schema = SchemaStore(database)
        self.pools = PoolStore(database)
        self.subnets = SubnetStore(database)
        self.ledgers = LedgerStore(database)
        self.reservations = ReservationStore(database)
        self.blocks = BlockStore(database)
        self.leases = LeaseStore(database)
        self.jobs = JobStore(database)
        self.tokens = TokenStore(database)
        self.events = EventStore(database)
        self.log = EventLogStore(database)
        self.leader_lease = LeaderLeaseStore(database)
        self.positions = PositionStore(database)
        self.purge = PurgeStore(database)
        self.idempotency = IdempotencyStore(database)
