"""`make bench`: every row of the table of speed, and the scaling curves, in one run."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import click

from benchmarks import report
from benchmarks.curves import CURVES, Curve
from benchmarks.installation import Installation, installed
from benchmarks.rows import FULL, MEASURED, MEASURED_APART, MEASURED_IF_NAMED, QUICK, Effort, Measurement, Row

RESULTS = Path(__file__).parent / "results"


@click.command()
@click.option("--quick", is_flag=True, help="A minute's look: few turns, no curves, no report.")
@click.option("--only", multiple=True, metavar="NAME", help="Only these: see rows.py and curves.py.")
@click.option("--out", type=click.Path(path_type=Path), help="Where the report goes.  [default: results/<time>]")
def main(*, quick: bool, only: tuple[str, ...], out: Path | None) -> None:
    """Measure ipam beside what bounds it, and say how near it comes."""
    effort = QUICK if quick else FULL
    where = report.machine()
    rows: list[Row] = []
    for group, is_usual in ((MEASURED, True), (MEASURED_APART, True), (MEASURED_IF_NAMED, False)):
        if measured := [one for one in group if (one.__name__ in only if only else is_usual)]:
            with tempfile.TemporaryDirectory() as folder, installed(Path(folder)) as made:
                rows += [row for one in measured for row in _measured(one, made, effort)]
    curves: list[Curve] = []
    if drawn := [one for one in CURVES if (one.__name__ in only if only else not quick)]:
        with (
            tempfile.TemporaryDirectory() as folder,
            installed(Path(folder)) as made,
            click.progressbar(drawn, label=f"{'curves':>20}") as running,
        ):
            curves = [one(made, effort) for one in running]
    click.echo("\n".join(report.table(rows)))
    if not quick:
        stamp = where["at"].replace(":", "").partition("+")[0]
        for path in report.write(out or RESULTS / stamp, where, rows, curves):
            click.echo(f"written: {path}")


def _measured(
    measure: Callable[[Installation, Effort], Measurement], made: Installation, effort: Effort
) -> list[Row]:
    measurement = measure(made, effort)
    with click.progressbar(measurement.turns, label=f"{measure.__name__:>20}") as turns:
        for turn in turns:
            turn()
    return measurement.rows


if __name__ == "__main__":
    main()
