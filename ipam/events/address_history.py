"""The holder of an address now (from the leases) and at a past time (from the event log)."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from bson import ObjectId

from ipam.errors import InvalidParameter
from ipam.models.addresses import Address
from ipam.models.cidr_cover import (
    TURNS,
    around_in_pool,
    around_in_subnets,
    lies_in,
    range_of_subnet,
    ranges_of_holding,
)
from ipam.models.event import Event
from ipam.models.lease import Lease
from ipam.storage.event_log import LogEntry
from ipam.storage.stores import Stores
from ipam.util.clock import utc_now
from ipam.util.rfc3339 import format_time

Json = dict[str, Any]

_TAKEN, _CAME_BACK = TURNS


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """The holder of an address in a subnet that it lies in; without a reservation it is free.

    Attributes:
        lease: None also where the log does not say which one it was.
        name: Of the reservation.
    """

    pool: str
    subnet: str
    lease: str | None = None
    reservation: str | None = None
    name: str | None = None


class AddressHistory:
    """Answers for one address at a time, in every pool."""

    def __init__(self, stores: Stores) -> None:
        self._stores = stores
        self._log = stores.log

    def current(self, address: Address) -> list[Holder]:
        """Return the holder of *address* in each subnet that it lies in: one at most in each pool."""
        subnets = sorted(self._stores.subnets.containing(address), key=lambda subnet: subnet.id)
        leases = {one.subnet: one for one in self._stores.leases.at(address, [subnet.id for subnet in subnets])}
        reservations = self._stores.reservations.get_many(lease.reservation for lease in leases.values())
        holders = []
        for subnet in subnets:
            lease = leases.get(subnet.id)
            reservation = reservations.get(lease.reservation) if lease else None
            holders.append(
                Holder(
                    pool=str(subnet.pool),
                    subnet=str(subnet.id),
                    lease=str(lease.id) if lease else None,
                    reservation=str(lease.reservation) if lease else None,
                    name=reservation.name if reservation else None,
                )
            )
        return holders

    def as_of(self, address: Address, time: datetime) -> list[Holder]:
        """Return the holder of *address* at *time* in each subnet that it lay in.

        Raises:
            InvalidParameter: If what happened after that is not kept any more, or that is still to come.
        """
        if time > utc_now():
            raise InvalidParameter("at: is in the future; leave it out to see who holds the address now.")
        kept_since = self._log.begin().time
        if kept_since is not None and time < kept_since:
            raise InvalidParameter(f"at: the audit log is kept since {format_time(kept_since)} only.")
        subnets = self._subnets_then(address, time)
        leases = {str(one.subnet): one for one in self._stores.leases.at(address, map(ObjectId, subnets))}
        return [
            self._holder_then(pool, subnet, leases.get(subnet), address, time)
            for subnet, pool in sorted(subnets.items())
        ]

    def _subnets_then(self, address: Address, time: datetime) -> dict[str, str]:
        """Return the pools of the subnets that *address* lay in at *time*, by the ids of these."""
        then: dict[str, Json | None] = {}
        for document in self._log.about(around_in_subnets(address)):
            for event in _about_subnets(self._log.document(document).entries):
                data = event.read()
                if event.time <= time:
                    then[data["id"]] = None if event.type == "ipam.subnet.deleted" else data
                elif data["id"] not in then:  # The first that is told of it: before, it was as this says.
                    is_new = event.type == "ipam.subnet.created"
                    then[data["id"]] = None if is_new else {**data, **data.get("before", {})}
        for subnet in self._stores.subnets.containing(address):
            if subnet.created_at <= time:
                then.setdefault(str(subnet.id), subnet.to_json())
        return {
            id_: data["pool"] for id_, data in then.items() if data and lies_in(address, [range_of_subnet(data)])
        }

    def _holder_then(self, pool: str, subnet: str, lease: Lease | None, address: Address, time: datetime) -> Holder:
        """Return its holder then, *lease* being its lease now."""
        last, following = self._around(ObjectId(pool), address, time)
        reservation = _reservation_then(last, following, lease, subnet, time)
        name = self._name_then(reservation, time) if reservation else None
        if reservation is None or name is None:
            return Holder(pool=pool, subnet=subnet)
        told = _lease_then(reservation, following, lease)
        return Holder(pool=pool, subnet=subnet, lease=told, reservation=reservation, name=name)

    def _around(self, pool: ObjectId, address: Address, time: datetime) -> tuple[Event | None, Event | None]:
        """Return the last event of *address* by *time* and the first one after it; None where there is none."""
        documents = self._log.about(around_in_pool(pool, address))
        # What was written before happened before; what was written later may have happened before as well.
        later = bisect_left(documents, time, key=lambda one: self._log.document(one).at)
        last = None
        for document in documents[later:]:
            for event in _about_address(self._log.document(document).entries, pool, address):
                if event.time > time:
                    return last or self._last(documents[:later], pool, address), event
                last = event
        return last or self._last(documents[:later], pool, address), None

    def _last(self, documents: Sequence[int], pool: ObjectId, address: Address) -> Event | None:
        for document in reversed(documents):
            *_, last = None, *_about_address(self._log.document(document).entries, pool, address)
            if last is not None:
                return last
        return None

    def _name_then(self, reservation: str, time: datetime) -> str | None:
        """Return what a *reservation* was called at *time*; None if it was deleted by then."""
        subject = f"/reservations/{reservation}"
        name: str | None = None
        for entry in self._log.read(0, subject):
            event = entry.event
            if event.paths[0] != subject:
                continue
            data = event.read()
            if event.time > time:
                # The first that is told of it: before, it was as this says.
                return data.get("before", data).get("name", data["name"]) if name is None else name
            if event.type == "ipam.reservation.deleted":
                return None
            name = data["name"]
        if name is None:  # Nothing happened to it for longer than the log is kept.
            found = self._stores.reservations.get_many([ObjectId(reservation)])
            return next((one.name for one in found.values()), "")
        return name


def _reservation_then(
    last: Event | None, following: Event | None, lease: Lease | None, subnet: str, time: datetime
) -> str | None:
    """Return the reservation that took an address of *subnet* and had not given it back alone by *time*.

    *last* and *following* are how it was taken or given back around that time, *lease* the one that holds it now.
    """
    if last is not None:
        data = last.read()
        return str(data["id"]) if last.type == _TAKEN and subnet in data["subnets"] else None
    # How it was taken is not kept any more: only what gave it back since, or holds it still, tells.
    if following is not None:
        data = following.read()
        was_held = following.type == _CAME_BACK and datetime.fromisoformat(data["created_at"]) <= time
        return str(data["reservation"]) if was_held else None
    return str(lease.reservation) if lease and lease.created_at <= time else None


def _lease_then(reservation: str, following: Event | None, lease: Lease | None) -> str | None:
    """Return the lease by which *reservation* held the address, if it gave it back next, or still holds it."""
    if following is not None and following.type == _CAME_BACK:
        data = following.read()
        return str(data["id"]) if data["reservation"] == reservation else None
    return str(lease.id) if lease and str(lease.reservation) == reservation else None


def _about_subnets(entries: Sequence[LogEntry]) -> Iterator[Event]:
    return (entry.event for entry in entries if entry.event.type.startswith("ipam.subnet."))


def _about_address(entries: Sequence[LogEntry], pool: ObjectId, address: Address) -> Iterator[Event]:
    """Yield the events by which *address* was taken from *pool* or came back."""
    for entry in entries:
        event = entry.event
        is_turn = event.type in (_TAKEN, _CAME_BACK) and event.paths[-1] == f"/pools/{pool}"
        if is_turn and lies_in(address, ranges_of_holding(event.read())):
            yield event
