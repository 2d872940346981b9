"""How much longer each route takes when there is much: 200,000 leases, and 3,000 subnets in one pool.

Each request is measured in a database that has next to nothing, and again when that has grown. What it is about
stays the same; or it is about something large of which it shows as much as of the small one. On servers of its own.
"""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from ipaddress import ip_address
from pathlib import Path

import click
from bson import ObjectId
from pyroaring import FrozenBitMap

from benchmarks.installation import Installation, installed
from ipam.models.address_set import BLOCK_SIZE
from ipam.models.addresses import to_number, to_place
from ipam.models.block import Block
from ipam.models.lease import Lease
from ipam.models.ledger import Ledger, LedgerState
from ipam.models.subnet import Subnet, SubnetState

SUBNETS = 3000
FILLED = 4  # Each of a /16, of which this is taken: 200,000 addresses in all.
SHARE = 0.763
BOUND = 3.0
ONCE_IS_ENOUGH_MS = 3000.0
# An address of the small subnet; and what is asked of what is large, as much of it as of the small one.
_ADDRESS = "192.168.0.9"
_LARGE = (
    *("/pools/{pool}", "/pools/{pool}/subnets?limit=3", "/subnets?limit=3&pool={pool}"),
    *("/pools/{pool}/free?limit=3", "/leases?limit=3&pool={pool}", "/leases?limit=3&subnet={subnet}"),
    *("/subnets/{subnet}", "/subnets/{subnet}/free?limit=3", "/subnets/{subnet}/map"),
    *("/reservations/{reservation}", "/reservations/{reservation}/leases?limit=100"),
    *("/leases?limit=100&reservation={reservation}", "/subnets/{subnet}/leases?limit=100"),
)


@dataclass
class Row:
    """A request, and how many ms it took before and after everything grew; None if it was not answered with 2xx."""

    name: str
    before: float | None
    after: float | None = None

    @property
    def growth(self) -> float | None:
        """How many times as long it takes."""
        return self.after / self.before if self.before and self.after else None


@dataclass(frozen=True)
class Things:
    """The ids of what the requests are about."""

    pool: str
    subnet: str
    reservation: str
    lease: str


@click.command()
@click.option("--rounds", default=7, show_default=True, help="Times that each request is sent; the median counts.")
def main(rounds: int) -> None:
    """Measure, and print a table; the exit status is 1 if anything grows to more than three times."""
    with tempfile.TemporaryDirectory() as folder, installed(Path(folder)) as made:
        small = _small(made)
        rows = [Row(name, _median_ms(send, rounds)) for name, send in _requests(made, small, small)]
        large = _grow(made, small)
        for row, (_, send) in zip(rows, _requests(made, small, large), strict=True):
            row.after = _median_ms(send, rounds)
    click.echo("| request | before, ms | after, ms | growth | |\n|---|---|---|---|---|")
    for row in rows:
        is_over = row.growth is None or row.growth > BOUND
        before, after, growth = (_shown(one) for one in (row.before, row.after, row.growth))
        click.echo(f"| {row.name} | {before} | {after} | {growth} | {'**over**' if is_over else ''} |")
    over = sum(row.growth is None or row.growth > BOUND for row in rows)
    click.echo(f"\n{over} of {len(rows)} requests grow to more than {BOUND:g} times")
    raise SystemExit(bool(over))


def _shown(value: float | None) -> str:
    return "no answer" if value is None else f"{value:.1f}"


def _small(made: Installation) -> Things:
    """Create a pool of three subnets, and in the first of them a reservation of 100 addresses and some of one."""
    described = {"name": "small", "tags": ["few"], "metadata": {"size": "small"}}
    pool = made.client.post("/pools", described)["id"]
    subnets = [
        made.client.post(f"/pools/{pool}/subnets", {"cidr": f"192.168.{n}.0/24", **described})["id"]
        for n in range(3)
    ]
    path = f"/subnets/{subnets[0]}/reservations"
    reservation = made.client.post(path, {"count": 100, **described})
    lease = reservation["leases"][7]["id"]
    made.client.request("PATCH", f"/leases/{lease}", described)
    for _ in range(5):
        made.client.post(path, {})
    made.wait_for_log()
    return Things(pool, subnets[0], reservation["id"], lease)


def _grow(made: Installation, small: Things) -> Things:
    """Fill four subnets, and put 3,000 subnets with a lease each into one pool; returns what is large."""
    filled = [made.subnet(cidr="10.0.0.0/16") for _ in range(FILLED)]
    for subnet in filled:
        made.fill(subnet, SHARE)
    pool = made.client.post("/pools", {"name": "large"})["id"]
    _put_subnets(made, ObjectId(pool))
    reservations = made.client.get(f"/subnets/{filled[0]['id']}/reservations")["reservations"]
    made.wait_for_log()
    return Things(pool, filled[0]["id"], reservations[0]["id"], small.lease)


def _put_subnets(made: Installation, pool: ObjectId) -> None:
    """Store subnets of a /30 as if they had been created, with the first address of each held."""
    database = made.bare.client[made.stack.environment["IPAM_DATABASE"]]
    documents, ledgers, ranges, blocks, leases = [], [], [], [], []
    for number in range(SUBNETS):
        start = ip_address("172.16.0.0") + 4 * number
        subnet = Subnet(id=ObjectId(), pool=pool, start=start, end=start + 3, size=4, state=SubnetState.ACTIVE)
        documents.append(subnet.to_bson())
        ledger = replace(Ledger.of(subnet), state=LedgerState.OPEN, unfinished=None, used=1, version=1)
        ledgers.append(ledger.to_bson())
        ranges.append({"subnet": subnet.id, "start": to_place(start), "end": to_place(start + 3)})
        taken = FrozenBitMap([to_number(start) % BLOCK_SIZE])
        block = Block(subnet=subnet.id, number=to_number(start) // BLOCK_SIZE).succeeded_by(taken, taken)
        blocks.append(block.to_bson())
        lease = Lease(id=ObjectId(), subnet=subnet.id, pool=pool, reservation=ObjectId(), address=start, entry=1)
        leases.append(lease.to_bson())
    for collection, some in (("subnets", documents), ("ledgers", ledgers), ("blocks", blocks), ("leases", leases)):
        database[collection].insert_many(some)
    database["pools"].update_one({"_id": pool}, {"$set": {"ranges": ranges}})


def _requests(made: Installation, small: Things, large: Things) -> Iterator[tuple[str, Callable[[], int]]]:
    """What is measured: of `small` what stays the same, and of `large` what may be as large as it likes."""
    letters = {small.pool: "P", small.subnet: "S", small.reservation: "R", small.lease: "L"}
    for path in _paths(small):
        name = path
        for id_, letter in letters.items():
            name = name.replace(id_, letter)
        yield f"GET {name}", partial(_get, made, path)
    for path in _LARGE:
        name = path.format(pool="P", subnet="S", reservation="R")
        ids = {"pool": large.pool, "subnet": large.subnet, "reservation": large.reservation}
        yield f"GET {name}, large", partial(_get, made, path.format(**ids))
    yield "reserve from S and release", partial(_reserve_and_release, made, f"/subnets/{small.subnet}")
    yield "reserve from P and release", partial(_reserve_and_release, made, f"/pools/{small.pool}")
    yield "reserve from P and release, large", partial(_reserve_and_release, made, f"/pools/{large.pool}")


def _paths(of: Things) -> Iterator[str]:
    """Every route by every filter."""
    described = ("name=small", "tag=few", "metadata.size=small")
    pool, subnet, reservation = f"/pools/{of.pool}", f"/subnets/{of.subnet}", f"/reservations/{of.reservation}"
    of_pool, of_subnet, of_reservation = f"pool={of.pool}", f"subnet={of.subnet}", f"reservation={of.reservation}"
    yield from (pool, subnet, reservation, f"{reservation}?embed=leases", f"/leases/{of.lease}")
    yield from (f"{pool}/free", f"{subnet}/free", f"{subnet}/map", f"/addresses/{_ADDRESS}")
    yield f"/events?subject={subnet}"
    yield from (f"/pools?{one}" for one in described)
    by_range = (f"address={_ADDRESS}", "cidr=192.168.0.0/24", "start=192.168.0.1")
    yield from (f"/subnets?{one}" for one in (of_pool, *by_range, *described))
    yield from (f"{pool}/subnets", *(f"{pool}/subnets?{one}" for one in by_range))
    yield from (f"/reservations?{one}" for one in (of_pool, of_subnet, *described))
    yield from (f"{pool}/reservations", f"{subnet}/reservations")
    yield from (f"/leases?{one}" for one in (of_pool, of_subnet, of_reservation, f"address={_ADDRESS}", *described))
    yield from (f"{subnet}/leases", f"{reservation}/leases")
    yield from (f"/jobs?{one}" for one in ("state=queued", of_pool, of_subnet))
    yield from (f"/{kind}?limit=3" for kind in ("pools", "subnets", "reservations", "leases", "jobs", "events"))


def _get(made: Installation, path: str) -> int:
    return made.client.request("GET", path)[0]


def _reserve_and_release(made: Installation, path: str) -> int:
    status, answer = made.client.request("POST", f"{path}/reservations", {})
    made.client.request("DELETE", f"/reservations/{json.loads(answer).get('id')}")
    return status


def _median_ms(send: Callable[[], int], rounds: int) -> float | None:
    """Return the median of the times that a request takes; None if one is not answered with 2xx."""
    times: list[float] = []
    while len(times) < rounds and max(times, default=0.0) < ONCE_IS_ENOUGH_MS:
        began = time.perf_counter()
        if send() // 100 != 2:
            return None
        times.append(1000 * (time.perf_counter() - began))
    return statistics.median(times)


if __name__ == "__main__":
    main()
