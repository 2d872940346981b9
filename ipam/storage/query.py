"""The conditions for a page of a list, the page, and the cursor that leads to the next."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar, overload

from bson import ObjectId
from pymongo import ASCENDING
from pymongo.collection import Collection

from ipam.errors import InvalidParameter
from ipam.models.document import Document
from ipam.models.fields import Bson
from ipam.models.job import Job

D = TypeVar("D", bound=Document | Job)

LIMIT_DEFAULT = 1000
LIMIT_MAX = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """The conditions for a page of a list.

    Attributes:
        facets: Of each of these groups one must be on the document; see `ipam.models.metadata`.
        conditions: MongoDB filters that must all hold.
        cursor: Where the page before ended, as `Page.cursor` gave it.
    """

    facets: tuple[tuple[str, ...], ...] = ()
    conditions: tuple[Mapping[str, Any], ...] = ()
    limit: int = LIMIT_DEFAULT
    cursor: str | None = None

    @property
    def by_field(self) -> Bson:
        """The conditions by field; of several on one field, the last."""
        return {name: value for condition in self.conditions for name, value in condition.items()}

    def where(self, **equals: Any) -> Query:
        """Return the same query with more conditions."""
        return replace(self, conditions=(*self.conditions, equals))

    def without(self, field: str) -> Query:
        """Return the same query without its conditions on *field*."""
        kept = ({name: value for name, value in one.items() if name != field} for one in self.conditions)
        return replace(self, conditions=tuple(kept))

    def to_filter(self, visible: Mapping[str, Any]) -> Bson:
        """Return the MongoDB filter, for documents that are *visible*.

        That comes last: the embedded server takes the index of the first name that has one.
        """
        after = ({"_id": {"$gt": decode_cursor(self.cursor)}},) if self.cursor is not None else ()
        wanted: Bson = {}
        for condition in (*self.conditions, *_having_all(self.facets), *after, visible):
            for name, value in condition.items():
                wanted[name] = _both(wanted[name], value) if name in wanted else value
        return wanted


def _having_all(groups: Sequence[tuple[str, ...]]) -> tuple[Bson, ...]:
    """Return the condition that a document has a facet of each of *groups*, none if there are none."""
    if not groups:
        return ()
    if len(groups) == 1:
        (group,) = groups
        return ({"facets": group[0] if len(group) == 1 else {"$in": list(group)}},)
    return ({"facets": {"$all": [{"$elemMatch": {"$in": list(group)}} for group in groups]}},)


def _both(one: Any, other: Any) -> Any:
    """Return one condition on a field in place of two.

    Below `$and` they would mean the same; but there the embedded server looks for no index, not even that of `_id`.

    Raises:
        ValueError: If both use the same operator; no two filters of a list do.
    """
    if one == other:
        return one
    first, second = (value if isinstance(value, dict) else {"$eq": value} for value in (one, other))
    for operator in first.keys() & second.keys():
        if first[operator] != second[operator]:
            message = f"{one} and {other} cannot be asked of one field"
            raise ValueError(message)
    return {**first, **second}


@dataclass(frozen=True, slots=True)
class Page(Generic[D]):
    """A part of a list.

    Attributes:
        items: Each is decoded when it is read, so that they need not be in memory all at once.
        keys: The `_id` of each of *items*.
        ended: Whether the list has no more.
    """

    items: Sequence[D]
    keys: Sequence[ObjectId | bytes]
    ended: bool

    def cursor(self, shown: int) -> str | None:
        """Return what leads to the next part when so many of the items are *shown*; None on the last part."""
        return None if self.ended and shown == len(self.items) else _encode_cursor(self.keys[shown - 1])


class DecodedSequence(Sequence[D]):
    """Stored documents, each decoded when it is read."""

    def __init__(self, stored: Sequence[Any], decode: Callable[[Any], D]) -> None:
        self._stored = stored
        self._decode = decode

    def __len__(self) -> int:
        return len(self._stored)

    @overload
    def __getitem__(self, place: int) -> D: ...

    @overload
    def __getitem__(self, place: slice) -> list[D]: ...

    def __getitem__(self, place: int | slice) -> D | list[D]:
        if isinstance(place, slice):
            return [self._decode(bson) for bson in self._stored[place]]
        return self._decode(self._stored[place])


def _encode_cursor(key: ObjectId | bytes) -> str:
    """Return the opaque form of the `_id` that a page ended with."""
    raw = key.binary if isinstance(key, ObjectId) else key
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def decode_cursor(cursor: str) -> ObjectId | bytes:
    """Return the `_id` in *cursor*.

    Raises:
        InvalidParameter: If it is not one that a page carried.
    """
    try:
        raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raw = b""
    if len(raw) == 12:  # noqa: PLR2004 (an ObjectId)
        return ObjectId(raw)
    if len(raw) == 28:  # noqa: PLR2004 (a lease's key)
        return raw
    raise foreign_cursor()


def keys_having(index: Collection[Any], query: Query) -> Iterator[Any]:
    """Yield the keys in *index*, which is kept by hand, that may have the facets of *query*, from its cursor on."""
    wanted = Query(facets=query.facets, cursor=query.cursor).to_filter({})
    for bson in index.find(wanted, {"_id": 1}).sort("_id", ASCENDING):
        yield bson["_id"]


def foreign_cursor() -> InvalidParameter:
    """Return what to raise for a cursor that this list did not give."""
    return InvalidParameter("cursor: is not one that a page of this list carried; follow its `next`.")
