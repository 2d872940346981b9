"""Reading for requests that come at the same moment: they share a call to the database."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Generic, TypeVar

from bson import ObjectId

from ipam.models.document import Document
from ipam.models.job import Job
from ipam.storage.connection import KEYS_CHUNK
from ipam.storage.document_store import DocumentStore
from ipam.util.coalescing import Coalescer

D = TypeVar("D", bound=Document | Job)
T = TypeVar("T")


def coalesce_by_id(read: Callable[[Sequence[ObjectId]], Mapping[ObjectId, T]]) -> Coalescer[ObjectId, T | None]:
    """Return what *read* finds under one id, several being read at once; None if there is nothing."""

    def read_some(ids: Sequence[ObjectId]) -> list[T | None]:
        found = read(ids)
        return [found.get(id_) for id_ in ids]

    return Coalescer(read_some, KEYS_CHUNK)


class CoalescedReader(Generic[D]):
    """Reads documents of a *store*, each for a request; *read* says how, if not in full."""

    def __init__(
        self,
        store: DocumentStore[D],
        read: Callable[[Sequence[ObjectId]], Mapping[ObjectId, D]] | None = None,
    ) -> None:
        self._store = store
        self._read: Coalescer[ObjectId, D | None] = coalesce_by_id(read or store.get_many)

    def get(self, id_: ObjectId) -> D:
        """Return the document called *id_*.

        Raises:
            NotFound: If there is none that users see.
        """
        found = self._read(id_)
        if found is None:
            raise self._store.missing(id_)
        return found
