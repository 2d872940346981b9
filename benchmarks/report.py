"""What came of it: JSON for programs, Markdown for people, a picture."""

from __future__ import annotations

import json
import os
import platform
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil
from matplotlib.figure import Figure

from benchmarks.curves import Curve
from benchmarks.rows import Row

_PACKAGES = ("ipam", "falcon", "waitress", "celery", "kombu", "redis", "pymongo", "SecantusDB")


def machine() -> dict[str, Any]:
    """What it ran on."""
    memory = psutil.virtual_memory().total / 2**30
    return {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "cores": os.cpu_count(),
        "memory_gib": round(memory, 1),
        "processor": platform.processor() or platform.machine(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "packages": {name: version(name) for name in _PACKAGES},
        "database": "as IPAM_BENCH_MONGO says" if "IPAM_BENCH_MONGO" in os.environ else "embedded",
        "broker": "as IPAM_BENCH_BROKER says" if "IPAM_BENCH_BROKER" in os.environ else "Redis",
    }


def write(folder: Path, where: dict[str, Any], rows: Sequence[Row], curves: Sequence[Curve]) -> list[Path]:
    """Write the reports into *folder*; returns their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    data, text, picture = folder / "report.json", folder / "report.md", folder / "report.png"
    told = [{**asdict(row), "ratio": row.ratio, "is_met": row.is_met} for row in rows]
    data.write_text(
        json.dumps({"machine": where, "rows": told, "curves": [asdict(one) for one in curves]}, indent=1)
    )
    text.write_text("\n".join(_lines(where, rows, curves)) + "\n")
    if not _is_drawn(rows, curves):
        return [data, text]
    _draw(picture, rows, curves)
    return [data, text, picture]


def table(rows: Iterable[Row]) -> list[str]:
    """The table in Markdown."""
    lines = ["| what | against | limit | ours | ratio | aim | |", "|---|---|---|---|---|---|---|"]
    for row in rows:
        ratio = "" if row.ratio is None else f"{row.ratio:.2f}"
        aim = "" if row.aim is None else f"{'at most' if row.is_most else 'at least'} {row.aim:g}"
        met = {True: "met", False: "**missed**", None: ""}[row.is_met]
        ours = f"{_spread(row.ours)} {row.unit}"
        lines.append(f"| {row.name} | {row.against} | {_spread(row.limit)} | {ours} | {ratio} | {aim} | {met} |")
    return lines


def _lines(where: dict[str, Any], rows: Sequence[Row], curves: Sequence[Curve]) -> list[str]:
    packages = ", ".join(f"{name} {one}" for name, one in where["packages"].items())
    lines = [
        f"# {where['at']}",
        "",
        f"{where['cores']} cores, {where['memory_gib']} GiB, {where['processor']}, {where['system']}",
        f"Python {where['python']}; database: {where['database']}, broker: {where['broker']}. {packages}.",
        "",
        "Medians of all turns, lowest and highest in brackets. See [the caveats](../../README.md).",
        "",
        *table(rows),
        *(["", "![ratios and scaling](report.png)"] if _is_drawn(rows, curves) else []),
    ]
    for curve in curves:
        points = ", ".join(f"{at}: {cost:.1f}" for at, cost in curve.points)
        lines += ["", f"**{curve.name}** ({curve.along}: {curve.cost}): {points}"]
    return lines


def _spread(values: Sequence[float]) -> str:
    if not values:
        return ""
    if len(set(values)) == 1:
        return f"{values[0]:.0f}" if values[0] == int(values[0]) else f"{values[0]:.1f}"
    digits = 0 if min(values) >= 100 else 1
    low, high = min(values), max(values)
    return f"{statistics.median(values):.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def _aimed(rows: Iterable[Row]) -> list[Row]:
    return [row for row in rows if row.aim is not None and row.ratio]


def _is_drawn(rows: Sequence[Row], curves: Sequence[Curve]) -> bool:
    """Whether there is anything to draw."""
    return bool(_aimed(rows) or curves)


def _draw(path: Path, rows: Sequence[Row], curves: Sequence[Curve]) -> None:
    """How near each row is to its aim, and the curves."""
    aimed = _aimed(rows)
    figure = Figure(figsize=(15, 4.5 + 0.22 * len(aimed)), layout="constrained")
    top, bottom = figure.subfigures(2, 1, height_ratios=[0.22 * len(aimed) + 1, 3.5])
    bars = top.subplots()
    reached = [
        (row.aim or 1) / (row.ratio or 1) if row.is_most else (row.ratio or 0) / (row.aim or 1) for row in aimed
    ]
    bars.barh(
        [row.name for row in aimed], reached, color=["tab:green" if row.is_met else "tab:red" for row in aimed]
    )
    bars.axvline(1.0, color="black", linewidth=1)
    bars.set_xlabel("share of the aim that is reached; right of the line it is met")
    bars.set_xscale("log")
    bars.invert_yaxis()
    # There are none if only rows were measured.
    places = bottom.subplots(1, len(curves), squeeze=False)[0] if curves else ()
    for place, curve in zip(places, curves, strict=True):
        place.plot([at for at, _ in curve.points], [cost for _, cost in curve.points], marker="o")
        place.set(title=curve.name, xlabel=curve.along, ylabel=curve.cost, ylim=(0, None))
        place.tick_params(axis="x", labelrotation=45)
    figure.savefig(path, dpi=80)
