"""/reservations, /subnets/{id}/reservations and /pools/{id}/reservations"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from functools import cache, partial
from typing import Any
from urllib.parse import urlencode

import falcon
from bson import ObjectId

from ipam.allocation.job_results import result_of
from ipam.api.http import request_schemas
from ipam.api.http.accepted import render_accepted, wait_for
from ipam.api.http.bulk import ItemResult, item_id, render_bulk
from ipam.api.http.coalesced_reader import CoalescedReader, coalesce_by_id
from ipam.api.http.idempotency import Idempotency, is_repeated
from ipam.api.http.item_resource import ItemResource
from ipam.api.http.media_types import negotiate, read_object
from ipam.api.http.prefer import WaitPreference, parse_prefer
from ipam.api.http.problems import render_error
from ipam.api.http.query_params import Filters, enum_filter, id_filter, list_query, parameter, refuse_unknown
from ipam.api.http.readonly_fields import is_empty, strip_readonly
from ipam.api.http.responses import Json, render, render_page, reservation_json
from ipam.errors import IpamError, NotFound, Transient, ValidationFailed
from ipam.models.document import object_id
from ipam.models.job import Job, JobState
from ipam.models.pool import Pool
from ipam.models.reservation import Reservation, ReservationState
from ipam.models.reservation_request import ReservationRequest
from ipam.models.subnet import Subnet
from ipam.storage.document_store import DocumentStore
from ipam.storage.query import LIMIT_MAX, Query
from ipam.wiring import Services

log = logging.getLogger(__name__)
FILTERS: Filters = {
    "pool": id_filter("pool"),
    "subnet": id_filter("subnets"),
    "state": enum_filter("state", (ReservationState.ACTIVE.value,)),
}
# Each may show 64 KiB of its pool's metadata, and as much of its subnet's.
_SHOWN_TOGETHER = 100


class ReservationCollection:
    """All reservations."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """List reservations."""
        negotiate(req, "reservations")
        _list(self._services, req, resp, list_query(req, FILTERS))


class ScopedReservations:
    """The reservations of one subnet or one pool.

    Args:
        kind: `subnet` or `pool`.
        field: The stored field of a reservation that names it.
    """

    def __init__(self, services: Services, idempotency: Idempotency, *, kind: str, field: str) -> None:
        self._services = services
        self._idempotency = idempotency
        self._kind = kind
        self._field = field
        self._owners: DocumentStore[Any] = services.stores.subnets if kind == "subnet" else services.stores.pools
        others: DocumentStore[Any] = services.stores.pools if kind == "subnet" else services.stores.subnets
        self._reader: CoalescedReader[Any] = CoalescedReader(self._owners, self._owners.read_many)
        self._metadata_of_other = coalesce_by_id(others.metadata_of)

    def on_get(self, req: falcon.Request, resp: falcon.Response, id_: str) -> None:
        """List them."""
        negotiate(req, "reservations")
        owner = self._owners.read(object_id(id_, self._kind))
        query = list_query(req, {name: filter_ for name, filter_ in FILTERS.items() if name != self._kind})
        _list(self._services, req, resp, query.where(**{self._field: owner.id}))

    def on_post(self, req: falcon.Request, resp: falcon.Response, id_: str) -> None:
        """Reserve addresses: a job, whose end is waited for as the caller prefers; or several, if it is a list."""
        negotiate(req, "reservation", "job", "outcomes")
        refuse_unknown(req)
        body = read_object(req, "reservation", "reservations")
        reserve = self._reserve_all if "reservations" in body else self._reserve
        reserve(req, resp, object_id(id_, self._kind), body)

    def _reserve(self, req: falcon.Request, resp: falcon.Response, target: ObjectId, body: Json) -> None:
        """Carry out the request in *body*, and answer with what became of it."""
        waiting, wanted = parse_prefer(req), self._reading(target)(body)

        def create(new: ObjectId) -> None:
            owner = self._reader.get(target)
            accepted = self._services.job_queue.accept(new, owner, wanted)
            around = self._around(owner, waiting)
            (job,) = wait_for(self._services, req, resp, [accepted], waiting, are_new=not is_repeated(req))
            if (error := _failure(job)) is not None:
                render_error(resp, error)
            elif (value := self._shown_result(job, around)) is not None:
                render(req, resp, "reservation", value, status=201, location=f"/reservations/{job.reservation}")
            else:
                render_accepted(req, resp, job)

        self._idempotency.once(req, resp, body, create)

    def _reserve_all(self, req: falcon.Request, resp: falcon.Response, target: ObjectId, body: Json) -> None:
        """Carry out the list of requests in *body*, and answer with what became of each."""
        waiting, read = parse_prefer(req), self._reading(target)
        wanted = [_read_at(place, one, read) for place, one in enumerate(request_schemas.requests_in(body))]

        def create(new: ObjectId) -> None:
            owner = self._reader.get(target)
            valid = {
                item_id(place, new): one
                for place, one in enumerate(wanted)
                if not isinstance(one, ValidationFailed)
            }
            accepted = self._services.job_queue.accept_all(owner, valid)
            around = self._around(owner, waiting)
            jobs = iter(wait_for(self._services, req, resp, accepted, waiting, are_new=not is_repeated(req)))
            outcomes = (
                ItemResult.refused(one)
                if isinstance(one, ValidationFailed)
                else self._outcome(next(jobs, None), around)
                for one in wanted
            )
            render_bulk(req, resp, outcomes)

        self._idempotency.once(req, resp, body, create)

    def _reading(self, target: ObjectId) -> Callable[[Json], ReservationRequest]:
        """Return what reads from a body which addresses of *target* are wanted, or raises `ValidationFailed`."""
        pool = cache(lambda: str(self._owners.read(target).pool))
        computed = Reservation.computed() - request_schemas.RESERVATION_FIELDS

        def read(body: Json) -> ReservationRequest:
            fixed = {"id": None, "subnet": None, "pool": None, self._kind: str(target)}
            if self._kind == "subnet" and not is_empty(body.get("pool")):
                fixed["pool"] = pool()
            return request_schemas.reservation_request(strip_readonly(body, fixed, computed), self._kind)

        return read

    def _around(self, owner: Subnet | Pool, waiting: WaitPreference) -> dict[ObjectId, Any]:
        """Return the metadata of *owner*, and of its pool if the caller waits: meanwhile a worker is at the job."""
        around = {owner.id: owner.metadata}
        if waiting.seconds and isinstance(owner, Subnet):
            with suppress(Transient):  # It is read again when it is shown.
                around[owner.pool] = self._metadata_of_other(owner.pool)
        return around

    def _outcome(self, job: Job | None, around: dict[ObjectId, Any]) -> ItemResult:
        """Return what became of *job*, one of several, or of a request that got none; *around* as in `_result`."""
        if job is None:
            return ItemResult.refused(Transient("The database did not answer. Send this request again."))
        if (error := _failure(job)) is not None:
            return ItemResult.refused(error, job)
        if (value := self._shown_result(job, around)) is not None:
            return ItemResult(201, "reservation", value, f"/reservations/{job.reservation}")
        return ItemResult.accepted(job)

    def _shown_result(self, job: Job, around: dict[ObjectId, Any]) -> Json | None:
        """Return what *job* has come to, as `_result` does; None if it goes on, or if that cannot be read now.

        By the time a job has succeeded its addresses are held. So nothing that goes wrong from there on is an error
        of the request: the caller is shown the job instead, which says where the reservation is.
        """
        if not job.state.terminal:
            return None
        try:
            return self._result(job, around)
        except (NotFound, Transient) as error:
            log.warning("what job %s has come to cannot be shown: %s", job.id, error.detail)
        except Exception:
            log.exception("what job %s has come to cannot be shown", job.id)
        return None

    def _result(self, job: Job, around: dict[ObjectId, Any]) -> Json:
        """Return the reservation that *job*, which has succeeded, has come to, with its leases.

        *around* is the metadata of pools and subnets as it was read before; what is missing is added.

        Raises:
            NotFound: If the reservation is gone already.
        """
        if (result := result_of(job)) is not None:
            reservation, held = result
            leases: Json = {"leases": held}
        else:
            reservation = self._services.stores.reservations.get(job.reservation)
            leases = _leases(self._services, reservation)
        other = reservation.pool if self._kind == "subnet" else reservation.subnet
        if other is not None and other not in around:
            around[other] = self._metadata_of_other(other)
        return {**reservation_json(reservation, around), **leases}


class ReservationItem(ItemResource[Reservation]):
    """A single reservation; `?embed=leases` includes its leases."""

    def __init__(self, services: Services) -> None:
        super().__init__(
            services,
            services.stores.reservations,
            lambda reservation: _show(services, reservation),
            lambda id_, revisions, _: services.releaser.release_reservation(id_, revisions),
        )
        self._within = coalesce_by_id(partial(_within, services))

    def on_get(self, req: falcon.Request, resp: falcon.Response, id_: str) -> None:
        """Show it."""
        negotiate(req, "reservation")
        refuse_unknown(req, "embed")
        embed = enum_filter("embed", ("", "leases"))(parameter(req, "embed", ""))["embed"]
        wanted = object_id(id_, "reservation")
        found = self._within(wanted)
        if found is None:
            raise self._services.stores.reservations.missing(wanted)
        reservation, around = found
        value = reservation_json(reservation, around)
        if embed:
            value |= _leases(self._services, reservation)
        render(req, resp, "reservation", value)


def _failure(job: Job) -> IpamError | None:
    """Why nothing has come of *job*; None if it has succeeded or goes on."""
    if job.state is JobState.FAILED:
        return IpamError.from_record(job.error or {})
    if job.state is JobState.CANCELLED:
        return NotFound(f"The job {job.id} was cancelled before a worker began it.")
    return None


def _read_at(
    place: int, body: Any, read: Callable[[Json], ReservationRequest]
) -> ReservationRequest | ValidationFailed:
    """Return what *body*, at this *place* of a list, asks for; or what is wrong with it."""
    try:
        if not isinstance(body, dict):
            raise ValidationFailed.at("", "must be an object, {} at least")
        return read(body)
    except ValidationFailed as error:
        return error.within(f"/reservations/{place}")


def _list(services: Services, req: falcon.Request, resp: falcon.Response, query: Query) -> None:
    page = services.stores.reservations.page(query)
    render_page(req, resp, "reservations", page, partial(_shown, services, around={}))


def _show(services: Services, reservation: Reservation) -> Json:
    return next(_shown(services, [reservation], {}))


def _within(services: Services, ids: Iterable[ObjectId]) -> dict[ObjectId, tuple[Reservation, dict[ObjectId, Any]]]:
    """Return the reservations called *ids*, each with the metadata of the pools and subnets of all of them."""
    found = services.stores.reservations.get_many(ids)
    around: dict[ObjectId, Any] = {}
    _look_around(services, found.values(), around)
    return {id_: (reservation, around) for id_, reservation in found.items()}


def _shown(services: Services, reservations: Sequence[Reservation], around: dict[ObjectId, Any]) -> Iterator[Json]:
    """Yield the JSON of *reservations*; what is missing *around* of metadata of pools and subnets is read together.

    They are gone through twice, and never kept: each may take megabytes.
    """
    for first in range(0, len(reservations), _SHOWN_TOGETHER):
        places = range(first, min(first + _SHOWN_TOGETHER, len(reservations)))
        _look_around(services, (reservations[place] for place in places), around)
        for place in places:
            yield reservation_json(reservations[place], around)


def _look_around(services: Services, some: Iterable[Reservation], around: dict[ObjectId, Any]) -> None:
    """Add what is missing *around* of the metadata of the pools and subnets of *some*; None of what is gone."""
    pools: list[ObjectId] = []
    subnets: list[ObjectId] = []
    for one in some:
        pools.append(one.pool)
        subnets += [one.subnet] if one.subnet else []
    for store, ids in ((services.stores.pools, pools), (services.stores.subnets, subnets)):
        unknown = {id_: None for id_ in ids if id_ not in around}
        around.update({**unknown, **store.metadata_of(unknown)})


def _leases(services: Services, reservation: Reservation) -> Json:
    """Return all leases; or a page and the link to the next one, if they are many or much is written on them."""
    if reservation.count <= LIMIT_MAX and (leases := services.stores.leases.embedded(reservation)) is not None:
        return {"leases": [lease.to_json() for lease in leases]}
    page = services.free_space.leases(Query(limit=LIMIT_MAX).where(reservation=reservation.id))
    value: Json = {"leases": [lease.to_json() for lease in page.items]}
    if (cursor := page.cursor(len(page.items))) is not None:
        value["next"] = f"/reservations/{reservation.id}/leases?{urlencode({'cursor': cursor})}"
    return value
