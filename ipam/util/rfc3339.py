"""Times as RFC 3339 writes them: not all that ISO 8601 knows, and more than Python's `fromisoformat` takes."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache

_TIME = re.compile(
    r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:)(\d\d)(\.\d+)?([Zz]|[+-](?:[01]\d|2[0-3]):[0-5]\d)", re.ASCII
)
# What becomes of `+01:00` where a `+` stands for a space.
_LOST_PLUS = re.compile(r".*\d [0-2]\d:[0-5]\d", re.ASCII)
_LEAP_SECOND = "60"


@lru_cache(maxsize=256)  # The leases of a reservation have the same.
def format_time(time: datetime | None) -> str | None:
    """Return a *time* in UTC to the millisecond; None stays None."""
    return time.isoformat(timespec="milliseconds").replace("+00:00", "Z") if time else None


def parse_time(text: str) -> datetime:
    """Return the time that *text* spells, in UTC; of a second only microseconds are kept.

    Raises:
        ValueError: If it spells none; the message says what to change.
    """
    found = _TIME.fullmatch(text)
    if found is None:
        message = "must be a time with its zone by RFC 3339, such as 2026-11-27T12:00:00Z"
        if _LOST_PLUS.fullmatch(text):
            message += "; in a URL write %2B for the + of a zone"
        raise ValueError(message)
    day, minute, second, fraction, zone = found.groups()
    is_leap = second == _LEAP_SECOND  # It is the one before the next minute's first, by any clock that has none.
    try:
        time = datetime.fromisoformat(f"{day}T{minute}{'59' if is_leap else second}{fraction or ''}{zone.upper()}")
        return time.astimezone(UTC) + timedelta(seconds=is_leap)
    except (ValueError, OverflowError):
        message = f"{text} is not in any calendar"
        raise ValueError(message) from None
