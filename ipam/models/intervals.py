"""Sets of whole numbers of any size as runs, each its first and last one: sorted, not touching each other."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

Run = tuple[int, int]
Runs = tuple[Run, ...]


def merged(runs: Iterable[Run]) -> Runs:
    """Return the numbers of *runs*, which may come in any order and share some."""
    found: list[Run] = []
    for first, last in sorted(runs):
        if found and first <= found[-1][1] + 1:
            found[-1] = (found[-1][0], max(found[-1][1], last))
        else:
            found.append((first, last))
    return tuple(found)


def joined(runs: Iterable[Run]) -> Iterator[Run]:
    """Yield the same numbers as *runs*, which ascend but may touch; found as they are asked for."""
    current: Run | None = None
    for first, last in runs:
        if current and first == current[1] + 1:
            current = (current[0], last)
            continue
        if current:
            yield current
        current = (first, last)
    if current:
        yield current


def without(runs: Runs, number: int) -> Runs:
    """Return *runs* but for *number*."""
    kept: list[Run] = []
    for first, last in runs:
        if first <= number <= last:
            kept += [part for part in ((first, number - 1), (number + 1, last)) if part[0] <= part[1]]
        else:
            kept.append((first, last))
    return tuple(kept)


def outside(runs: Runs, first: int, last: int) -> Iterator[int]:
    """Yield the numbers from *first* to *last* that are not in *runs*, ascending; found as they are asked for."""
    for low, high in (*runs, (last + 1, last + 1)):
        if high < first:
            continue
        yield from range(first, min(low, last + 1))
        first = max(first, high + 1)


def size(runs: Runs) -> int:
    """Return how many numbers *runs* have."""
    return sum(last - first + 1 for first, last in runs)
