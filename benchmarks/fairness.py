"""Measure one client's small requests while the largest work that is allowed goes on elsewhere."""

from __future__ import annotations

import statistics
import tempfile
import time
from http import HTTPStatus
from pathlib import Path
from typing import Any

import click

from benchmarks.clients import seconds
from benchmarks.installation import Installation, installed
from ipam.allocation.backlog import TARGET_MAX, TOTAL_MAX
from ipam.models.reservation_request import COUNT_MAX

# As much of its rate as a client keeps at least.
BOUND = 0.5
_ASYNC = {"Prefer": "respond-async"}


@click.command()
@click.option("--measured-s", default=60, show_default=True, help="How long small requests are measured beside it.")
def main(measured_s: int) -> None:
    """Measure, and print a table; the exit status is 1 if a client keeps less than half of its rate."""
    with tempfile.TemporaryDirectory() as folder, installed(Path(folder)) as made:
        elsewhere = made.subnet(cidr="192.168.0.0/16")
        _latencies(made, elsewhere, measured_s / 8)  # To warm up.
        alone = _latencies(made, elsewhere, measured_s / 4)
        large = [made.subnet(cidr="10.0.0.0/8") for _ in range(TOTAL_MAX // TARGET_MAX)]
        asked = [{"count": COUNT_MAX}] * (TARGET_MAX // COUNT_MAX)
        for subnet in large:
            made.client.request("POST", _path(subnet), {"reservations": asked}, **_ASYNC)
        status, _ = made.client.request("POST", _path(large[0]), {"count": COUNT_MAX}, **_ASYNC)
        click.echo(f"one more request for {COUNT_MAX} addresses: {status}")
        assert status == HTTPStatus.SERVICE_UNAVAILABLE
        began = time.monotonic()
        beside = _latencies(made, elsewhere, measured_s)
        used = sum(made.client.get(f"/subnets/{subnet['id']}")["used"] for subnet in large)
        took = time.monotonic() - began
    kept = statistics.mean(alone) / statistics.mean(beside)
    for name, found in (("alone", alone), ("beside it", beside)):
        rate, median, worst = 1 / statistics.mean(found), statistics.median(found), max(found)
        click.echo(f"{name:>10}: {rate:.1f} a second, median {1000 * median:.0f} ms, worst {1000 * worst:.0f} ms")
    click.echo(
        f"{kept:.2f} of the rate is kept while {used / took:.0f} addresses a second are handed out elsewhere"
    )
    raise SystemExit(kept < BOUND)


def _path(subnet: dict[str, Any]) -> str:
    return f"/subnets/{subnet['id']}/reservations"


def _latencies(made: Installation, subnet: dict[str, Any], measured_s: float) -> list[float]:
    """Return how long each of one client's requests takes, in seconds."""
    found: list[float] = []
    deadline = time.monotonic() + measured_s
    while time.monotonic() < deadline:
        found.append(seconds(lambda: made.client.post(_path(subnet), {})))
    return found


if __name__ == "__main__":
    main()
