"""The base of all stores of resources: get, page through, change conditionally."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from operator import itemgetter
from typing import Any, ClassVar, Generic, TypeVar, cast

from bson import ObjectId
from pymongo import ASCENDING
from pymongo.collection import Collection
from pymongo.database import Database

from ipam.errors import NotFound, Transient, WriteConflict
from ipam.models import event_factory, metadata
from ipam.models.document import Document, check_revision, object_id, succeeded_by, writable_to_bson
from ipam.models.event import Event, Outbox
from ipam.models.fields import Bson
from ipam.models.job import Job
from ipam.storage.connection import KEYS_CHUNK, READ_CHUNK, among, chunks, speaks_mongo
from ipam.storage.outbox import EventStore, telling
from ipam.storage.query import DecodedSequence, Page, Query, decode_cursor, foreign_cursor
from ipam.storage.sizes import fitting
from ipam.storage.time_span import Span
from ipam.util.clock import utc_now
from ipam.util.retry import retry_on_conflict

log = logging.getLogger(__name__)
D = TypeVar("D", bound=Document | Job)

# An outbox with so many events, each with metadata before and after perhaps, is emptied by the next writer: a
# document must stay far below 16 MB, even when the relay is away.
_OUTBOX_MOST = 16


@speaks_mongo
class DocumentStore(Generic[D]):
    """A collection of resources.

    Attributes:
        kind: The resource's name in messages.
        visible: Filter of the documents that users see.
        unread: Fields that readers of a whole document do not use, and that may be long.
        unlisted: More of them, of no use in a list.
    """

    kind: ClassVar[str]
    _key: ClassVar[type] = ObjectId  # The type of its `_id`, and so of what its lists go on from.
    visible: ClassVar[Mapping[str, Any]] = {}
    unread: ClassVar[tuple[str, ...]] = ()
    unlisted: ClassVar[tuple[str, ...]] = ("outbox",)

    def __init__(self, database: Database[Any], decode: Callable[[Bson], D]) -> None:
        self._collection: Collection[Any] = database[f"{self.kind}s"]
        self._decode = decode
        self._events = EventStore(database)

    def id_of(self, text: str) -> ObjectId:
        """Return the id that *text* spells, as paths have it.

        Raises:
            NotFound: If it spells none.
        """
        return object_id(text, self.kind)

    def get(self, id_: ObjectId) -> D:
        """Return the document called *id_*.

        Raises:
            NotFound: If there is none that users see.
        """
        found = self._seen(id_)
        if found is None:
            raise self.missing(id_)
        return found

    def get_many(self, ids: Iterable[ObjectId]) -> dict[ObjectId, D]:
        """Return those of *ids* that users see, by id."""
        return self.read_many(ids)

    def read(self, id_: ObjectId) -> D:
        """Return the document called *id_* without what other documents say of it, which may save a call.

        Raises:
            NotFound: If there is none that users see.
        """
        found = self.read_many([id_]).get(id_)
        if found is None:
            raise self.missing(id_)
        return found

    def read_many(self, ids: Iterable[ObjectId]) -> dict[ObjectId, D]:
        """Return those of *ids* that users see, by id, without what other documents say of them."""
        return {bson["_id"]: self._decode(bson) for bson in self._stored(ids)}

    def _stored(self, ids: Iterable[ObjectId]) -> Iterator[Bson]:
        """Yield the documents of those of *ids* that users see."""
        for some in chunks(dict.fromkeys(ids), KEYS_CHUNK):
            found = self._collection.find({"_id": among(some)}, self._projection)
            yield from filter(self._is_visible, found)

    def metadata_of(self, ids: Iterable[ObjectId]) -> dict[ObjectId, Any]:
        """Return the metadata of those of *ids* that users see, by id."""
        wanted = list(dict.fromkeys(ids))
        if not wanted:
            return {}
        shown = {"metadata": 1, **dict.fromkeys(self.visible, 1)}
        found = self._collection.find({"_id": among(wanted)}, shown)
        return {
            bson["_id"]: metadata.decode(bson["metadata"]) if "metadata" in bson else None
            for bson in found
            if self._is_visible(bson)
        }

    def page(self, query: Query) -> Page[D]:
        """Return a page of documents in the order of their keys: by age, leases by subnet and address.

        It ends at the limit of *query*, or when its documents come to 2 MiB.

        Raises:
            InvalidParameter: If the cursor is of another list.
        """
        self.after(query)
        with (
            self._collection.find(self._filter(query), self._projection_listed)
            .sort("_id", ASCENDING)
            .limit(query.limit + 1) as found
        ):
            return self._page_of(found, query.limit)

    def after(self, query: Query) -> Any:
        """Return the `_id` that the page before ended with; None if there was none.

        Raises:
            InvalidParameter: If the cursor is of another list.
        """
        key = decode_cursor(query.cursor) if query.cursor is not None else None
        if key is not None and not isinstance(key, self._key):
            raise foreign_cursor()
        return key

    def page_among(self, query: Query, keys: Iterable[Any]) -> Page[D]:
        """Yield a page, as `page` makes it, of those documents that have one of *keys*, which ascend.

        Where a range of keys is read by reading all documents, it costs what is asked for and no more.
        """
        wanted = self._filter(replace(query, cursor=None))

        def found() -> Iterator[Bson]:
            for some in chunks(keys, READ_CHUNK):
                # The key comes first, for the reason that `Query.to_filter` gives.
                yield from self._by_keys(some, wanted, self._projection_listed)

        return self._page_of(found(), query.limit)

    def _by_keys(self, keys: Sequence[Any], wanted: Mapping[str, Any], shown: Bson | None = None) -> list[Bson]:
        found = self._collection.find({"_id": among(keys), **wanted}, shown)
        return sorted(found, key=itemgetter("_id"))

    def _filter(self, query: Query) -> Bson:
        return query.to_filter(self.visible)

    def _page_of(self, found: Iterable[Bson], limit: int) -> Page[D]:
        some, is_cut = fitting(found, limit + 1)
        shown = some[:limit]
        keys = [bson["_id"] for bson in shown]
        return Page(DecodedSequence(shown, self._decode), keys, ended=len(some) <= limit and not is_cut)

    def describe(self, id_: ObjectId, change: Callable[[D], D], revisions: frozenset[int] | None = None) -> D:
        """Replace the writable fields by those of *change*(document); the rest is left alone.

        *revisions* are those that the caller will accept to overwrite, None meaning any.

        Raises:
            NotFound: If there is no such document.
            Stale: If it has another revision than the caller accepts.
        """

        def attempt() -> D:
            old: Any = self.get(id_)
            check_revision(self.kind, old.revision, revisions)
            wanted: Any = change(old)
            change_ = writable_to_bson(wanted)
            if change_ == writable_to_bson(old):
                return cast("D", old)  # Compared as it is stored: to Python false is 0 and 1 is 1.0.
            new = succeeded_by(wanted)
            self._mark(new, change_["facets"])
            written = self._collection.update_one(
                {**self._place(old), **self.visible, "revision": old.revision},
                telling(moved_on(new, **change_), event := event_factory.updated(new, old)),
            )
            if not written.modified_count:
                raise self._changed(id_)
            self._tell(old, event)
            return cast("D", new)

        return retry_on_conflict(attempt)

    def _take_over(self, recent: Span, shown: Bson | None = None) -> Iterator[Bson]:
        """Yield documents that are `unfinished` since before the span *recent*, each to one caller only.

        *shown* are the fields that are read, `state` and `unfinished` among them; all if it is None.
        """
        for side in recent.sides():
            for bson in list(self._collection.find({"unfinished": side}, shown)):
                unchanged = {name: bson[name] for name in ("_id", "state", "unfinished")}
                if self._collection.update_one(unchanged, {"$set": {"unfinished": utc_now()}}).modified_count:
                    yield bson

    def _seen(self, id_: ObjectId) -> D | None:
        """Return the document called *id_*, None if there is none that users see.

        It is looked for by its key alone: for any condition more, the embedded server goes through all indexes of
        the collection several times, which takes three times as long as to read it.
        """
        found = self._collection.find_one({"_id": id_}, self._projection)
        return self._decode(found) if found is not None and self._is_visible(found) else None

    @property
    def _projection(self) -> Bson | None:
        return _all_but(*self.unread)

    @property
    def _projection_listed(self) -> Bson | None:
        return _all_but(*self.unread, *self.unlisted)

    def _is_visible(self, bson: Bson) -> bool:
        """Return whether *bson* is among the `visible` ones."""
        return all(bson.get(name) == value for name, value in self.visible.items())

    def _place(self, document: D) -> Bson:
        """Return the `_id` of *document*, and what else says that it is that one."""
        return {"_id": document.id}

    def _mark(self, document: D, facets: Sequence[str]) -> None:
        """Prepare the index for *document*, which is about to be written and then has these *facets*.

        Of most collections the database itself keeps an index of them.
        """

    def _tell(self, document: Any, event: Event | None = None) -> None:
        """Tell what stands in the outbox of *document*, and of *event*, which was put there since it was read.

        Nothing is lost when the database does not answer: the outbox is looked after by recovery.
        """
        self._tell_of([(document, event)])

    def _tell_of(self, changes: Iterable[tuple[Any, Event | None]]) -> None:
        """Tell of many changes as `_tell` does of one, in one call."""
        outboxes = [
            Outbox((*document.outbox, *([event] if event else ())), f"{self.kind}s", self._place(document)["_id"])
            for document, event in changes
        ]
        try:
            self._events.add(outboxes)
            self._events.clear(outbox for outbox in outboxes if len(outbox.events) > _OUTBOX_MOST)
        except Transient:
            log.warning("what happened to %d %ss will be told later", len(outboxes), self.kind)

    def missing(self, id_: ObjectId) -> NotFound:
        """Return what to raise when there is no document called *id_* that users see."""
        return NotFound(f"There is no {self.kind} {id_}.")

    def _changed(self, id_: ObjectId) -> WriteConflict:
        return WriteConflict(f"The {self.kind} {id_} was changed meanwhile; read it again.")


def moved_on(document: Document, **fields: Any) -> Bson:
    """Return the update that writes *fields*, and the revision and time of *document*, which is as it will be."""
    return {"$set": {**fields, "revision": document.revision, "updated_at": document.updated_at}}


def _all_but(*names: str) -> Bson | None:
    return dict.fromkeys(names, 0) or None
