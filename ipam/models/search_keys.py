"""Search keys: the array `keys` of a document, by which it is found besides its `_id`, with a single index.

On the embedded database each index costs every document of its collection something, also those that it has no
entry of. In the array stand ids of what a document belongs to, what the ids of its leases begin with, words for
what recovery looks for, and the minute in which it may go. Readers by one of them check the field that it
was made of, too.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from bson import ObjectId

# A job that has not ended.
OPEN = "open"
# One that was asked for together with others, or asks alone, for many addresses.
COUNTED = "counted"
# A reservation whose release was begun and is not over.
UNFINISHED = "unfinished"

KEEP_JOBS = timedelta(days=7)
# A tombstone outlives every process that could still create again what it is of.
KEEP_TOMBSTONES = KEEP_JOBS
KEEP_ANSWERS = timedelta(hours=24)


def search_keys(*keys: ObjectId | bytes | str) -> list[ObjectId | bytes | str]:
    """Return the search keys of a document that is not to expire.

    Raises:
        TypeError: If one is a number or a time: by a number an expired document is found, and removed.
    """
    for key in keys:
        if not isinstance(key, ObjectId | bytes | str):
            message = f"{key!r} is no search key of a document that is not to expire"
            raise TypeError(message)
    return list(keys)


def expiry_keys(at: datetime) -> list[int]:
    """Return the search keys of a document that may be removed after the time *at*; it has no others."""
    return [minute_of(at)]


def minute_of(time: datetime) -> int:
    """Return the key of what may go in the minute of *time*, as whole minutes since 1970."""
    return int(time.timestamp()) // 60
