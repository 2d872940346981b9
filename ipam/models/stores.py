"""All stores of one database."""

from __future__ import annotations

from typing import Any

from pymongo.database import Database

from ipam.models.blocks import BlockStore
from ipam.models.bulk_writes import BulkWriter
from ipam.models.connection import Store
from ipam.models.event_log import EventLogStore
from ipam.models.events import EventStore
from ipam.models.idempotency import IdempotencyStore
from ipam.models.indexes import Indexes
from ipam.models.jobs import JobStore
from ipam.models.leader_lease import LeaderLeaseStore
from ipam.models.leases import LeaseStore
from ipam.models.pools import PoolStore
from ipam.models.positions import PositionStore
from ipam.models.purge import PurgeStore
from ipam.models.reservations import ReservationStore
from ipam.models.schema import SchemaStore
from ipam.models.subnets import SubnetStore


class Stores:
    """A store for each collection; *servers* and *source* say in messages where the database is."""

    def __init__(self, database: Database[Any], servers: str = "", source: str = "--mongo") -> None:
        self.whole = Store(database, servers, source)
        self.writer = BulkWriter(database)
        self.indexes = Indexes(database)
        self.schema = SchemaStore(database)
        self.pools = PoolStore(database)
        self.subnets = SubnetStore(database)
        self.reservations = ReservationStore(database)
        self.blocks = BlockStore(database)
        self.leases = LeaseStore(database)
        self.jobs = JobStore(database)
        self.events = EventStore(database)
        self.log = EventLogStore(database)
        self.leader_lease = LeaderLeaseStore(database)
        self.positions = PositionStore(database)
        self.purge = PurgeStore(database)
        self.idempotency = IdempotencyStore(database)
