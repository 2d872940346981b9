"""Selection of subnets and addresses for one request; no side effects but the reads of plans."""

from __future__ import annotations

from collections.abc import Sequence

from ipam.allocation.planner import Selection, SubnetPlan
from ipam.errors import AddressTaken, Exhausted, ValidationFailed
from ipam.models.address_set import AddressSet
from ipam.models.addresses import count_addresses
from ipam.models.cidr import parse_address
from ipam.models.reservation_request import ReservationRequest, Spread

# Addresses that a sentence names; its facts name all of them.
_SHOWN = 5

Choice = list[tuple[SubnetPlan, Selection]]


def select_addresses(request: ReservationRequest, plans: Sequence[SubnetPlan]) -> Choice:
    """Return what *request* gets of the subnets of *plans*, which are in the order of their addresses: all of it.

    Raises:
        Exhausted: If fewer addresses are free, or no run is as long as it is to be.
        AddressTaken: If it wants certain addresses that are not all free.
        ValidationFailed: If it wants certain addresses that none of the subnets hands out.
        WriteConflict: If the subnets have changed since they were read.
    """
    if request.addresses:
        return _these(request, plans)
    chosen: Choice = []
    for version, count in request.parts:
        offered = [plan for plan in plans if version in (None, plan.ledger.start.version)]
        if request.spread is Spread.MOST_FREE:
            offered.sort(key=lambda plan: -plan.available)
        of_family = f"IPv{version}" if version else ""
        chosen += (_run if request.contiguous else _any)(request, count, offered, of_family)
    return chosen


def _any(request: ReservationRequest, count: int, plans: Sequence[SubnetPlan], family: str) -> Choice:
    free = sum(plan.available for plan in plans)
    if count > free:
        message = f"{count_addresses(count, family)} asked for, {free} free; ask for fewer or elsewhere."
        raise Exhausted(message, asked=count, free=free)
    chosen: Choice = []
    for plan in plans:
        share = min(count, plan.available)
        if share:
            chosen.append((plan, plan.pick(share, request.strategy)))
            count -= share
    return chosen


def _run(request: ReservationRequest, count: int, plans: Sequence[SubnetPlan], family: str) -> Choice:
    for plan in plans:
        if count <= plan.available and (run := plan.pick_run(count, request.strategy)):
            return [(plan, run)]
    free = sum(plan.available for plan in plans)
    why, hint = (", but not so many in a row", "without contiguous, or ") if free >= count else ("", "")
    asked = count_addresses(count, family)
    message = f"{asked} in a row asked for, {free} free{why}; ask {hint}for fewer or elsewhere."
    raise Exhausted(message, asked=count, free=free)


def _these(request: ReservationRequest, plans: Sequence[SubnetPlan]) -> Choice:
    addresses = [parse_address(text, f"/addresses/{index}") for index, text in enumerate(request.addresses)]
    wanted = AddressSet.of(addresses)
    mine = [(plan, plan.within(wanted)) for plan in plans]
    offered = {address for _, some in mine for address in some}
    for index, address in enumerate(addresses):
        if address not in offered:
            raise ValidationFailed.at(f"/addresses/{index}", f"{address} is never handed out here; choose another")
    taken = [str(address) for plan, some in mine for address in plan.taken(some)]
    if taken:
        shown = ", ".join(taken[:_SHOWN]) + (f" and {len(taken) - _SHOWN} more" if len(taken) > _SHOWN else "")
        raise AddressTaken(f"{shown} cannot be had: taken; choose others.", addresses=taken)
    return [(plan, plan.pick_these(some)) for plan, some in mine if some]
