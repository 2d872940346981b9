"""Count the bytes of documents, and bound how many of them are read at once."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any

Bson = dict[str, Any]
# A page or a batch ends before it is full when the documents in it come to more: 10,000 may have 64 KiB of metadata
# each. In Python's memory JSON may take 24 times as many bytes.
PAGE_MAX_BYTES = 2 * 1024 * 1024
# The JSON that an answer has for them; of 10,000 plain leases it has less than half of that.
ANSWER_MAX_BYTES = 8 * 1024 * 1024


def fitting(found: Iterable[Bson], limit: int = sys.maxsize) -> tuple[list[Bson], bool]:
    """Read the first of the documents *found*, up to *limit* and as many as come to 2 MiB, one at least.

    Returns them, and whether there are more that do not fit into these bytes.
    """
    some: list[Bson] = []
    size = 0
    for bson in found:
        size += bytes_of(bson)
        if some and size > PAGE_MAX_BYTES:
            return some, True
        some.append(bson)
        if len(some) == limit:
            break
    return some, False


def bytes_of(value: Any) -> int:
    """Return about how many bytes *value*, a stored document or a part of one, has: those of its texts."""
    if isinstance(value, str | bytes):
        return len(value)
    if isinstance(value, dict):
        return sum(map(bytes_of, value.values()))
    if isinstance(value, list):
        return sum(map(bytes_of, value))
    return 0
