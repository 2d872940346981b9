"""Live through histories without limit: `python -m tests.simulation --seeds 10000 --from 1`."""

from __future__ import annotations

import logging
import multiprocessing
import os
import time
from collections import Counter

import click

from tests.simulation.history import Outcome, run


@click.command()
@click.option("--seeds", type=click.IntRange(min=1), default=1000, show_default=True, help="How many histories.")
@click.option("--from", "first", default=1, show_default=True, help="Seed of the first one.")
@click.option("--stories", default=1, show_default=True, help="How many broken histories to tell.")
def main(seeds: int, first: int, stories: int) -> None:
    """Run histories on all cores; the exit code is 1 if something was broken in any of them."""
    began, totals, broken = time.monotonic(), Counter(), []
    with (
        multiprocessing.Pool(os.cpu_count(), initializer=logging.disable) as processes,
        click.progressbar(length=seeds, label="histories", width=40) as bar,
    ):
        for outcome in processes.imap_unordered(run, range(first, first + seeds), chunksize=8):
            totals.update({name: getattr(outcome, name) for name in ("commands", "deaths", "sleeps", "errors")})
            broken += [outcome] if outcome.faults else []
            bar.update(1)
    for outcome in sorted(broken, key=lambda one: one.seed)[:stories]:
        click.echo(_told(outcome))
    counts = ", ".join(f"{count:,} {name}" for name, count in totals.items())
    click.echo(f"{seeds:,} histories, {counts}, in {time.monotonic() - began:.0f} s; {len(broken)} broken")
    for outcome in sorted(broken, key=lambda one: one.seed)[:20]:
        click.echo(f"seed {outcome.seed}: {outcome.faults[0]}")
    raise SystemExit(bool(broken))


def _told(outcome: Outcome) -> str:
    faults = "\n".join(f"  {fault}" for fault in outcome.faults)
    return f"{outcome.story}\n\nThat was seed {outcome.seed}; what is wrong at its end:\n{faults}\n"


if __name__ == "__main__":
    main()
