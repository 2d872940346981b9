"""Free-form metadata: kept as JSON text, found again by facets.

Text and not BSON, because whatever JSON a user sends must come back as it was sent: keys with `$`, `.` or NUL,
integers of any length and nesting deeper than BSON allows.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator
from typing import Any

from ipam.errors import Invalid

Json = Any
MAX_BYTES = 64 * 1024
# Each value is found by its whole path, so that long keys around many values multiply.
MAX_FACETS_BYTES = 4 * MAX_BYTES
# Far beyond what people write, far below where Python's own JSON code runs out of stack.
MAX_DEPTH = 100


def encode(value: Json, pointer: str = "/metadata") -> str:
    """*value* as compact JSON text.

    Raises:
        Invalid: If it is over 64 KiB, nested deeper than 100 levels, or holds a number that JSON has no form for.
    """
    _check(value, pointer)
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    size = len(text.encode())
    if size > MAX_BYTES:
        raise Invalid.at(pointer, f"is {size} bytes of JSON; at most {MAX_BYTES} are kept")
    return text


def check(value: Json) -> None:
    """Refuse metadata that cannot be stored, or that would come to far more than itself.

    Raises:
        Invalid: As `encode` does; and if the paths of all its values, by which it is found, come to over 256 KiB.
    """
    encode(value)
    size = 0
    for path, scalar in _scalars(value, ""):
        size += len(metadata_facet(path, scalar).encode())
        if size > MAX_FACETS_BYTES:
            message = f"has too many values at too long paths: all paths come to over {MAX_FACETS_BYTES} bytes"
            raise Invalid.at("/metadata", message)


def is_same(one: Json, other: Json) -> bool:
    """Whether both are the same JSON: 0, false and 0.0 are not, though they are equal to Python."""
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


def decode(text: str) -> Json:
    """The value that `encode` was given."""
    return json.loads(text)


def _check(value: Json, pointer: str) -> None:
    level: list[Json] = [value]
    for _ in range(MAX_DEPTH + 1):
        if any(isinstance(item, float) and not math.isfinite(item) for item in level):
            raise Invalid.at(pointer, "holds a number that is not finite")
        level = [child for item in level for child in _children(item)]
        if not level:
            return
    raise Invalid.at(pointer, f"is nested deeper than {MAX_DEPTH} levels")


def _children(item: Json) -> Iterable[Json]:
    if isinstance(item, dict):
        return item.values()
    return item if isinstance(item, list) else ()


def facets(name: str, tags: Iterable[str], metadata: Json) -> list[str]:
    """The strings by which a document can be found: one for its name, one a tag, one a scalar in its metadata."""
    named = [name_facet(name)] if name else []
    found = (metadata_facet(path, value) for path, value in _scalars(metadata, ""))
    return list(dict.fromkeys([*named, *map(tag_facet, tags), *found]))


def name_facet(name: str) -> str:
    """The facet that a document called *name* carries."""
    return f"name={name}"


def tag_facet(tag: str) -> str:
    """The facet that a document tagged with *tag* carries."""
    return f"tag={tag}"


def metadata_facet(path: str, value: Json) -> str:
    """The facet of *value* at the dotted *path*; 7 and "7" share one, for a query string cannot tell them apart."""
    return f"metadata.{path}={value if isinstance(value, str) else json.dumps(value)}"


def _scalars(value: Json, path: str) -> Iterator[tuple[str, Json]]:
    """Every scalar with its dotted path; the items of a list stand at the path of the list."""
    if isinstance(value, dict):
        for key, child in value.items():
            yield from _scalars(child, f"{path}.{key}" if path else key)
    elif isinstance(value, list):
        for child in value:
            yield from _scalars(child, path)
    elif path:
        yield path, value
