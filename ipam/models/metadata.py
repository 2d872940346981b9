"""Free-form metadata: kept as JSON text, found again by facets.

Text and not BSON, because whatever JSON a user sends must come back as it was sent: keys with `$`, `.` or NUL,
integers of any length and nesting deeper than BSON allows.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any
from urllib.parse import unquote

from ipam.errors import ValidationFailed
from ipam.util.lossless_json import canonical_number, dumps, is_number, loads

Json = Any
MAX_BYTES = 64 * 1024
# Each value is found by its whole path, so that long keys around many values multiply: hence a bound, by the size
# of the metadata, so that a list of a thousand requests makes no more of them than one of few.
FACETS_PER_BYTE = 4
FACETS_FREE_BYTES = 16 * 1024
# Far beyond what people write, far below where Python's own JSON code runs out of stack.
MAX_DEPTH = 100
_QUOTED = str.maketrans({sign: f"%{ord(sign):02X}" for sign in "%.=#"})


def encode(value: Json, pointer: str = "/metadata") -> str:
    """Return *value* as compact JSON text.

    Raises:
        ValidationFailed: If it is over 64 KiB, or nested deeper than 100 levels.
    """
    _check(value, pointer)
    text = dumps(value)
    size = len(text.encode())
    if size > MAX_BYTES:
        raise ValidationFailed.at(pointer, f"is {size} bytes of JSON; at most {MAX_BYTES} are kept")
    return text


def is_same(one: Json, other: Json) -> bool:
    """Return whether both are the same JSON: 0, false and 0.0 are not, though they are equal to Python."""
    return dumps(one, sort_keys=True) == dumps(other, sort_keys=True)


def decode(text: str) -> Json:
    """Return the value that `encode` was given."""
    return loads(text)


def _check(value: Json, pointer: str) -> None:
    level: list[Json] = [value]
    for _ in range(MAX_DEPTH + 1):
        level = [child for item in level for child in _children(item)]
        if not level:
            return
    raise ValidationFailed.at(pointer, f"is nested deeper than {MAX_DEPTH} levels")


def _children(item: Json) -> Iterable[Json]:
    if isinstance(item, dict):
        return item.values()
    return item if isinstance(item, list) else ()


def facets(name: str, tags: Iterable[str], metadata: Json) -> list[str]:
    """Return the strings that a document is found by: one for its name, one a tag, one a scalar in its metadata.

    Of the metadata so many, in its own order, as 16 KiB hold, or four times its JSON if that is more: by what comes
    after them it is not found.
    """
    named = [name_facet(name)] if name else []
    return list(dict.fromkeys([*named, *map(tag_facet, tags), *_metadata_facets(metadata)]))


def _metadata_facets(metadata: Json) -> Iterator[str]:
    """Yield the facets of *metadata* until they come to too much: to make all of them would take that memory."""
    size, most = 0, FACETS_FREE_BYTES
    for keys, value in _scalars(metadata, ()):
        facet = _facet(keys, value)
        size += len(facet.encode())
        if size > most:
            most = max(most, FACETS_PER_BYTE * len(dumps(metadata).encode()))
        if size > most:
            return
        yield facet


def name_facet(name: str) -> str:
    """Return the facet that a document called *name* carries."""
    return f"name={name}"


def tag_facet(tag: str) -> str:
    """Return the facet that a document tagged with *tag* carries."""
    return f"tag={tag}"


def metadata_facets(path: str, text: str) -> tuple[str, ...]:
    """Return the facets of *text*, as a query has it, at the dotted *path*; a document with one of them matches.

    A query cannot tell 7 from "7". In *path* `%2E` stands for a dot in a key, and `%25` for a percent sign.
    """
    keys = [unquote(part) for part in path.split(".")]
    return (_facet(keys, text), _number_facet(keys, text)) if is_number(text) else (_facet(keys, text),)


def _facet(keys: Iterable[str], value: Json) -> str:
    if isinstance(value, str):
        return f"metadata.{_path(keys)}={value}"
    text = dumps(value)
    return _number_facet(keys, text) if is_number(text) else f"metadata.{_path(keys)}={text}"


def _number_facet(keys: Iterable[str], text: str) -> str:
    return f"metadata.{_path(keys)}#={canonical_number(text)}"


def _path(keys: Iterable[str]) -> str:
    """Return *keys* with dots between them, and no character in them that means something in a facet."""
    return ".".join(key.translate(_QUOTED) for key in keys)


def _scalars(value: Json, keys: tuple[str, ...]) -> Iterator[tuple[Sequence[str], Json]]:
    """Yield every scalar with the keys that lead to it; the items of a list stand where the list does."""
    if isinstance(value, dict):
        for key, child in value.items():
            yield from _scalars(child, (*keys, key))
    elif isinstance(value, list):
        for child in value:
            yield from _scalars(child, keys)
    elif keys:
        yield keys, value
