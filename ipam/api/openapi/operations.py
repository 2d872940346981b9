"""What each method of each route does: the source of the description."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from pydantic import BaseModel

from ipam.models.description import Description
from ipam.wire import events, lists, requests, resources, views
from ipam.wire.model import WireModel


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer that is no problem.

    Attributes:
        description: When it is given.
        models: What its body may be; none if it has none, or one that no model describes.
        headers: Those that it may have, besides those of every answer.
        media_types: Of a body that no model describes.
    """

    description: str
    models: tuple[type[WireModel], ...] = ()
    headers: tuple[str, ...] = ()
    media_types: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Operation:
    """A method of a route.

    Attributes:
        id: What generated clients call it.
        summary: What it does, in a line.
        answers: By status.
        parameters: Keys of the query parameters and headers that it takes, besides those of every request.
        bodies: What its body may be; none if it has none.
        body_kinds: The kinds in the media types that its body may have.
        problems: Slugs of the problems it may be answered with, besides those that follow from all of this.
        is_query_checked: Whether it refuses query parameters that it does not know.
    """

    id: str
    summary: str
    answers: Mapping[int, Answer]
    parameters: tuple[str, ...] = ()
    bodies: tuple[type[BaseModel], ...] = ()
    body_kinds: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    is_query_checked: bool = True

    @property
    def is_negotiated(self) -> bool:
        """Whether `Accept` decides about the media type of its answer."""
        return any(model.media_kind for answer in self.answers.values() for model in answer.models)


Operations = dict[str, Operation]

_DESCRIBED = ("name", "tag", "metadata")
# Hooks may refuse what they are asked about.
_REFUSED = ("rejected",)
_UNCHANGED = Answer("The body is as `If-None-Match` has it.", headers=("ETag",))
_GONE = Answer("Deleted or released.", headers=("Location",))
_JOB = Answer(
    "It takes longer than the caller waits: the job goes on.",
    (resources.Job,),
    ("ETag", "Location", "Preference-Applied", "Retry-After"),
)


def _listing(id_: str, summary: str, page: type[WireModel], *filters: str) -> Operation:
    answers = {200: Answer("A page.", (page,), ("ETag", "Link")), 304: _UNCHANGED}
    return Operation(id_, summary, answers, ("limit", "cursor", *filters, "If-None-Match"))


def _showing(id_: str, summary: str, model: type[WireModel], *parameters: str) -> Operation:
    answers = {200: Answer(f"The {model.media_kind}.", (model,), ("ETag",)), 304: _UNCHANGED}
    return Operation(id_, summary, answers, (*parameters, "If-None-Match"))


def _reporting(id_: str, summary: str, model: type[WireModel], *, is_query_checked: bool = True) -> Operation:
    return Operation(id_, summary, {200: Answer("The report.", (model,))}, is_query_checked=is_query_checked)


def _sending(id_: str, summary: str, *media_types: str) -> Operation:
    answers = {200: Answer("The file.", headers=("ETag",), media_types=media_types), 304: _UNCHANGED}
    return Operation(id_, summary, answers, ("If-None-Match",))


def _creating(id_: str, summary: str, model: type[WireModel], body: type[BaseModel], *problems: str) -> Operation:
    answers = {201: Answer(f"The {model.media_kind} was created.", (model,), ("ETag", "Location"))}
    return Operation(
        id_, summary, answers, ("Idempotency-Key",), (body,), (model.media_kind,), (*_REFUSED, *problems)
    )


def _changing(
    path: str,
    model: type[WireModel],
    patch: type[BaseModel] = Description,
    body: type[BaseModel] = Description,
    problems: tuple[str, ...] = _REFUSED,
) -> Operations:
    answers = {200: Answer(f"The {model.media_kind} was changed.", (model,), ("ETag", "Location"))}
    name, kinds = model.__name__, (model.media_kind,)
    replacing = Operation(
        f"replace{name}",
        f"Replace what can be written on a {model.media_kind}; what is left out becomes empty",
        answers,
        ("If-Match",),
        (body,),
        kinds,
        problems,
    )
    patching = replace(
        replacing,
        id=f"patch{name}",
        summary=f"Change what the body names of a {model.media_kind} (merge patch, RFC 7396)",
        bodies=(patch,),
    )
    return {f"PATCH {path}": patching, f"PUT {path}": replacing}


def _deleting(id_: str, summary: str, *parameters: str, problems: tuple[str, ...] = _REFUSED) -> Operation:
    answers = {204: _GONE}
    return Operation(id_, summary, answers, (*parameters, "If-Match"), problems=problems)


def _deleting_by_job(id_: str, summary: str, *parameters: str, problems: tuple[str, ...] = _REFUSED) -> Operation:
    deleting = _deleting(id_, summary, *parameters, problems=problems)
    gone = replace(_GONE, headers=(*_GONE.headers, "Preference-Applied"))
    return replace(deleting, answers={204: gone, 202: _JOB}, parameters=(*deleting.parameters, "Prefer"))


def _reserving(id_: str, summary: str) -> Operation:
    headers = ("ETag", "Location", "Preference-Applied")
    return Operation(
        id_,
        summary,
        {
            201: Answer("The addresses are reserved.", (resources.Reservation,), headers),
            200: Answer("The outcome of each request of a list.", (views.Outcomes,), (*headers, "Retry-After")),
            202: replace(
                _JOB,
                description=f"{_JOB.description} Of a list, at least one of its jobs does.",
                models=(resources.Job, views.Outcomes),
            ),
        },
        ("Idempotency-Key", "Prefer"),
        (requests.ReservationBody, requests.ReservationListBody),
        ("reservation", "reservations"),
        ("exhausted", "address-taken", "given-up", *_REFUSED),
    )


# The operations by method and path, in sections.
SECTIONS: dict[str, Operations] = {
    "pools": {
        "GET /pools": _listing("listPools", "List pools", lists.Pools, *_DESCRIBED),
        "POST /pools": _creating("createPool", "Create a pool", resources.Pool, Description),
        "GET /pools/{id}": _showing("getPool", "Show a pool", resources.Pool),
        **_changing("/pools/{id}", resources.Pool),
        "DELETE /pools/{id}": _deleting_by_job(
            "deletePool", "Delete a pool with all that is in it", "cascade", problems=("not-empty", *_REFUSED)
        ),
    },
    "subnets": {
        "GET /subnets": _listing(
            "listSubnets",
            "List subnets",
            lists.Subnets,
            *_DESCRIBED,
            *("pool", "address-of-subnet", "cidr", "start"),
        ),
        "GET /pools/{id}/subnets": _listing(
            "listSubnetsOfPool",
            "List the subnets of a pool",
            lists.Subnets,
            *_DESCRIBED,
            *("address-of-subnet", "cidr", "start"),
        ),
        "POST /pools/{id}/subnets": _creating(
            "createSubnet", "Put a subnet into a pool", resources.Subnet, requests.SubnetBody, "subnet-overlap"
        ),
        "GET /subnets/{id}": _showing("getSubnet", "Show a subnet", resources.Subnet),
        **_changing("/subnets/{id}", resources.Subnet),
        "DELETE /subnets/{id}": _deleting_by_job(
            "deleteSubnet",
            "Delete a subnet and give its addresses back",
            "cascade",
            problems=("not-empty", *_REFUSED),
        ),
    },
    "reservations": {
        "POST /subnets/{id}/reservations": _reserving("reserveFromSubnet", "Reserve addresses of a subnet"),
        "POST /pools/{id}/reservations": _reserving("reserveFromPool", "Reserve addresses of a pool"),
        "GET /reservations": _listing(
            "listReservations",
            "List reservations",
            lists.Reservations,
            *_DESCRIBED,
            *("pool", "subnet", "reservation-state"),
        ),
        "GET /pools/{id}/reservations": _listing(
            "listReservationsOfPool",
            "List the reservations of a pool",
            lists.Reservations,
            *_DESCRIBED,
            *("subnet", "reservation-state"),
        ),
        "GET /subnets/{id}/reservations": _listing(
            "listReservationsOfSubnet",
            "List the reservations that have addresses of a subnet",
            lists.Reservations,
            *_DESCRIBED,
            *("pool", "reservation-state"),
        ),
        "GET /reservations/{id}": _showing("getReservation", "Show a reservation", resources.Reservation, "embed"),
        **_changing("/reservations/{id}", resources.Reservation),
        "DELETE /reservations/{id}": _deleting_by_job(
            "releaseReservation", "Release a reservation: give all of its addresses back"
        ),
    },
    "leases": {
        "GET /leases": _listing(
            "listLeases",
            "List leases",
            lists.Leases,
            *_DESCRIBED,
            *("pool", "subnet", "reservation", "address-of-lease"),
        ),
        "GET /subnets/{id}/leases": _listing(
            "listLeasesOfSubnet", "List the leases of a subnet", lists.Leases, *_DESCRIBED, "reservation"
        ),
        "GET /reservations/{id}/leases": _listing(
            "listLeasesOfReservation", "List the leases of a reservation", lists.Leases, *_DESCRIBED
        ),
        "GET /leases/{id}": _showing("getLease", "Show a lease", resources.Lease),
        **_changing("/leases/{id}", resources.Lease),
        "DELETE /leases/{id}": _deleting("releaseLease", "Release a lease: give its address back"),
    },
    "free space and addresses": {
        "GET /subnets/{id}/free": _listing(
            "listFreeRangesOfSubnet", "List what is free in a subnet", lists.FreeRanges, "prefix_length"
        ),
        "GET /pools/{id}/free": _listing(
            "listFreeRangesOfPool", "List what is free in the subnets of a pool", lists.FreeRanges, "prefix_length"
        ),
        "GET /subnets/{id}/map": _showing(
            "getSubnetMap", "Show how much is taken in each part of a subnet", views.SubnetMap, "block"
        ),
        "GET /addresses/{address}": _showing(
            "getAddress", "Show who holds an address, or held it, in each pool", views.AddressHolders, "at"
        ),
    },
    "jobs": {
        "GET /jobs": _listing(
            "listJobs", "List the jobs of the last seven days", lists.Jobs, "pool", "subnet", "job-state"
        ),
        "GET /jobs/{id}": _showing("getJob", "Show a job, or wait for its end", resources.Job, "wait-for-job"),
        "DELETE /jobs/{id}": Operation(
            "cancelJob",
            "Cancel a job that no worker has begun",
            {204: Answer("The job was cancelled.", headers=("Location",))},
            problems=("not-queued",),
        ),
    },
    "events": {
        "GET /events": Operation(
            "listEvents",
            "Read the audit log, or wait for an event",
            {200: Answer("A page.", (events.Events,), ("ETag", "Link", "Retry-After")), 304: _UNCHANGED},
            (
                *("limit", "after", "subject", "type", "actor", "since", "until", "wait-for-event"),
                "If-None-Match",
            ),
        ),
    },
    "tokens": {
        "GET /tokens": _listing("listTokens", "List tokens", lists.Tokens, *_DESCRIBED),
        "POST /tokens": Operation(
            "createToken",
            "Create a token, and see its secret, this once",
            {201: Answer("The token was created.", (resources.CreatedToken,), ("ETag", "Location"))},
            bodies=(requests.TokenBody,),
            body_kinds=(resources.Token.media_kind,),
        ),
        "GET /tokens/self": _showing("getOwnToken", "Show the token of the request", resources.Token),
        "GET /tokens/{id}": _showing("getToken", "Show a token", resources.Token),
        **_changing("/tokens/{id}", resources.Token, requests.TokenPatch, requests.TokenBody, problems=()),
        "DELETE /tokens/{id}": _deleting("deleteToken", "Delete a token", problems=()),
    },
    "service": {
        "GET /": Operation(
            "getRoot",
            "Say what this is, and where its lists are",
            {
                200: Answer("The version and the links.", (views.Root,)),
                303: Answer("A browser is led to the documentation.", headers=("Location",)),
            },
        ),
        "GET /livez": _reporting(
            "getLiveness", "Say whether this process lives", views.Liveness, is_query_checked=False
        ),
        "GET /readyz": _reporting(
            "getReadiness", "Say whether this process can work", views.Readiness, is_query_checked=False
        ),
        "GET /status": _reporting("getStatus", "Show the state of all parts", views.InstallationState),
        "GET /metrics": Operation(
            "getMetrics",
            "Show the metrics, for Prometheus",
            {
                200: Answer(
                    "The metrics.",
                    media_types=("text/plain", "application/openmetrics-text"),
                )
            },
        ),
        "GET /openapi.json": _sending("getOpenApi", "Show this description", "application/json"),
        "GET /docs": _sending("getDocs", "Show this description in a browser", "text/html"),
        "GET /docs/{file}": _sending(
            "getDocsFile", "Send a file that pages in a browser need", "text/css", "text/javascript"
        ),
        "GET /problems/{slug}": _sending("getProblem", "Explain a type of problem", "text/markdown", "text/html"),
    },
}
