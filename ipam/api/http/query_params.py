"""Query parameters: what each route knows, anything else is refused."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any, TypeVar

import falcon
from bson import ObjectId
from bson.errors import InvalidId

from ipam.errors import InvalidParameter, UnknownParameter, ValidationFailed
from ipam.models.addresses import Address, to_place
from ipam.models.cidr import parse_address
from ipam.models.metadata import metadata_facets, name_facet, tag_facet
from ipam.storage.query import LIMIT_MAX, Query, decode_cursor
from ipam.util.rfc3339 import parse_time

# How a list's own filters become conditions on stored fields.
Filters = Mapping[str, Callable[[str], Mapping[str, Any]]]
WAIT_MAX_S = 60
# The longest number that anybody may mean, and short enough to be read in no time.
_DIGITS_MAX = 20
# What is asked of a list in one request; each is a condition on what is read.
_PARAMETERS_MAX = 100
_METADATA = "metadata."
T = TypeVar("T")


def parameter(req: falcon.Request, name: str, default: str) -> str:
    """Return a query parameter that `refuse_unknown` has let through."""
    value: str = req.params.get(name, default)  # type: ignore[assignment]
    return value


def refuse_unknown(req: falcon.Request, *known: str) -> None:
    """Refuse any query parameter but *known*, and any of these that is given twice.

    Raises:
        UnknownParameter: If there is another.
        InvalidParameter: If one is repeated.
    """
    for name, value in req.params.items():
        if name not in known:
            expected = f"known here: {', '.join(known)}" if known else "none is known here"
            message = f"{name}: unknown parameter; {expected}."
            raise UnknownParameter(message, parameter=name)
        if isinstance(value, list):
            raise InvalidParameter(f"{name}: may be given once only.")


def bool_param(parameters: Mapping[str, Any], name: str, *, default: bool) -> bool:
    """Return a parameter that is `true` or `false`.

    Raises:
        InvalidParameter: If it is something else.
    """
    value = parameters.get(name, "true" if default else "false")
    if value not in ("true", "false"):
        raise InvalidParameter(f"{name}: must be true or false.")
    return bool(value == "true")


def whole_number(text: str, name: str, low: int, high: int) -> int:
    """Return the number that *text* spells.

    Raises:
        InvalidParameter: If it spells none from *low* to *high*.
    """
    if not (text.isascii() and text.isdigit() and len(text) <= _DIGITS_MAX and low <= int(text) <= high):
        raise InvalidParameter(f"{name}: must be a whole number from {low} to {high}.")
    return int(text)


def list_query(req: falcon.Request, filters: Filters | None = None, *, described: bool = True) -> Query:
    """Return the query of a list: limit, cursor, name, tag, metadata.<path>, and the list's own *filters*.

    Raises:
        UnknownParameter: If a parameter is none of these.
        InvalidParameter: If one has an impossible value or is repeated, `tag` excepted.
    """
    query = Query()
    if sum(1 if isinstance(value, str) else len(value) for value in req.params.values()) > _PARAMETERS_MAX:
        raise InvalidParameter(f"A list takes at most {_PARAMETERS_MAX} parameters; ask for less at once.")
    for name, value in req.params.items():
        if described and name == "tag":
            tags = [value] if isinstance(value, str) else value
            query = replace(query, facets=(*query.facets, *((tag_facet(tag),) for tag in tags)))
        elif isinstance(value, list):
            raise InvalidParameter(f"{name}: may be given once only.")
        elif filters and name in filters:
            query = replace(query, conditions=(*query.conditions, filters[name](value)))
        elif described and name == "name":
            query = _named(query, value)
        elif described and name.startswith(_METADATA):
            query = replace(query, facets=(*query.facets, metadata_facets(name.removeprefix(_METADATA), value)))
        else:
            query = _paged(query, name, value, filters, described=described)
    return query


def _named(query: Query, name: str) -> Query:
    """Return *query* for those called *name*; that one has none is in no facet, for most leases have none."""
    if not name:
        return query.where(name={"$in": ["", None]})
    return replace(query, facets=(*query.facets, (name_facet(name),)))


def _paged(query: Query, name: str, value: str, filters: Filters | None, *, described: bool) -> Query:
    if name == "limit":
        return replace(query, limit=whole_number(value, name, 1, LIMIT_MAX))
    if name == "cursor":
        decode_cursor(value)  # Refused here, before anything is asked of the database.
        return replace(query, cursor=value)
    raise _unknown(name, filters, described=described)


def _unknown(name: str, filters: Filters | None, *, described: bool) -> UnknownParameter:
    known = ["limit", "cursor", *(["name", "tag", "metadata.<path>"] if described else []), *(filters or ())]
    return UnknownParameter(f"{name}: unknown parameter; known here: {', '.join(known)}.", parameter=name)


def id_filter(field: str) -> Callable[[str], Mapping[str, Any]]:
    """Return a filter by the id in the stored *field*; an id that is none is refused."""

    def condition(text: str) -> Mapping[str, Any]:
        try:
            return {field: ObjectId(text)}
        except InvalidId:
            raise InvalidParameter(f"{text!r} is not an id: 24 hexadecimal digits.") from None

    return condition


def enum_filter(field: str, values: tuple[str, ...]) -> Callable[[str], Mapping[str, Any]]:
    """Return a filter by a stored *field* that has one of a few *values*."""

    def condition(text: str) -> Mapping[str, Any]:
        if text not in values:
            raise InvalidParameter(f"{field}: must be one of {', '.join(values)}.")
        return {field: text}

    return condition


def address_filter(condition: Callable[[bytes], Mapping[str, Any]]) -> Callable[[str], Mapping[str, Any]]:
    """Return a filter by an address, *condition* being made of its place."""
    return lambda text: condition(to_place(address_parameter(text)))


def address_parameter(text: str) -> Address:
    """Return the address that the parameter `address` spells.

    Raises:
        InvalidParameter: If it spells none.
    """
    return parse_with(text, "address", parse_address)


def time_parameter(req: falcon.Request, name: str) -> datetime | None:
    """Return the time that the parameter *name* spells; None if it is not given.

    Raises:
        InvalidParameter: If it spells none.
    """
    if name not in req.params:
        return None
    try:
        return parse_time(parameter(req, name, ""))
    except ValueError as error:
        raise InvalidParameter(f"{name}: {error}.") from None


def parse_with(text: str, name: str, parse: Callable[[str, str], T]) -> T:
    """Return what the parameter *name* spells by the rules of bodies.

    Raises:
        InvalidParameter: If *parse* refuses it.
    """
    try:
        return parse(text, "")
    except ValidationFailed as error:
        raise InvalidParameter(f"{name}: {error.facts['errors'][0]['detail']}.") from None
