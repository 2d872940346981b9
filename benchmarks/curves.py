"""How the cost grows with what might make it grow: occupancy, size, concurrency, batch, number of subnets."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field
from typing import Any

from benchmarks.clients import seconds, times_of
from benchmarks.installation import Installation
from benchmarks.rows import Effort, latencies


@dataclass
class Curve:
    """A line of a plot: a cost for each of some values, in the order of `points`."""

    name: str
    along: str
    cost: str
    points: list[tuple[str, float]] = field(default_factory=list)


def occupancy(made: Installation, effort: Effort) -> Curve:
    """One address of a /18 that is more and more full."""
    curve = Curve("cost against occupancy", "% of a /18 that is taken", "ms a request")
    for percent in (0, 25, 50, 75, 99):
        subnet = made.subnet(cidr="10.0.0.0/18")
        if percent:
            made.fill(subnet, percent / 100)
        curve.points.append((str(percent), statistics.median(latencies(made, subnet, effort.samples))))
    return curve


def size(made: Installation, effort: Effort) -> Curve:
    """One address of larger and larger subnets."""
    curve = Curve("cost against size", "subnet", "ms a request")
    for cidr in ("10.0.0.0/26", "10.0.0.0/24", "10.0.0.0/16", "10.0.0.0/8", "2001:db8::/64", "2001:db8::/32"):
        subnet = made.subnet(cidr=cidr)
        point = statistics.median(latencies(made, subnet, effort.samples))
        curve.points.append((f"/{cidr.partition('/')[2]}" + (" v6" if ":" in cidr else ""), point))
    return curve


def concurrency(made: Installation, effort: Effort) -> Curve:
    """More and more clients on one subnet."""
    curve = Curve("throughput against concurrency", "clients", "requests a second")
    subnet = made.subnet(cidr="10.0.0.0/14")
    path = f"/subnets/{subnet['id']}/reservations"
    for clients in (1, 2, 4, 8, 16, 32, 64):
        requests = max(clients * 4, effort.requests // 2)
        took, _ = times_of(clients, requests, lambda _: made.client.post(path, {}))
        curve.points.append((str(clients), requests / took))
    return curve


def batch(made: Installation, effort: Effort) -> Curve:
    """More and more addresses in a request."""
    curve = Curve("throughput against addresses a request", "addresses a request", "addresses a second")
    subnet = made.subnet(cidr="10.0.0.0/10")
    for count in (1, 10, 100, 1000, 4096):
        body = {"count": count}
        path = f"/subnets/{subnet['id']}/reservations"
        times = [seconds(lambda path=path, body=body: made.client.post(path, body)) for _ in range(effort.rounds)]
        curve.points.append((str(count), count / statistics.median(times)))
    return curve


def subnets(made: Installation, effort: Effort) -> Curve:
    """One address of a subnet whose pool has more and more of them."""
    curve = Curve("cost against number of subnets", "subnets in the pool", "ms a request to a subnet")
    pool = made.client.post("/pools", {"name": "many"})
    there: list[dict[str, Any]] = []
    for count in (1, 10, 100):
        while len(there) < count:
            number = len(there)
            cidr = f"10.{number // 256}.{number % 256}.0/24"
            there.append(made.client.post(f"/pools/{pool['id']}/subnets", {"cidr": cidr}))
        curve.points.append((str(count), statistics.median(latencies(made, there[-1], effort.samples))))
    return curve


CURVES = (occupancy, size, concurrency, batch, subnets)
