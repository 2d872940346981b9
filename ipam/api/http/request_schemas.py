"""Request bodies: what may be written, and every fault with its place."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from enum import StrEnum
from typing import Any, TypeVar

from pydantic import BaseModel

from ipam.allocation.provisioning import SubnetSpec
from ipam.api.http.readonly_fields import is_empty
from ipam.errors import ValidationFailed
from ipam.models.addresses import Address, count_addresses
from ipam.models.cidr import (
    Network,
    bounds,
    check_family,
    normal_exclusion,
    parse_address,
    parse_allowed_from,
    parse_exclusion,
    parse_network,
)
from ipam.models.description import merge_patch, parse, written
from ipam.models.reservation_request import COUNT_MAX, ReservationRequest, Spread
from ipam.models.subnet import Strategy
from ipam.models.token import Role, Token
from ipam.util.rfc3339 import parse_time
from ipam.wire.requests import REQUESTS_MAX, ReservationBody, SubnetBody, TokenBody

Json = dict[str, Any]
E = TypeVar("E", bound=StrEnum)

# Promised by the contract, not there yet: refused by name, so that no caller believes to have them.
_LATER = ("ttl", "expires_at")
# The fields that a request may have; some of them a reservation has as well, as what came of it.
RESERVATION_FIELDS = frozenset((*ReservationBody.model_fields, *_LATER))
_OF_POOLS = ("spread", "ipv4", "ipv6")


def subnet_spec(body: Json) -> SubnetSpec:
    """Return the subnet that *body* asks for.

    Raises:
        ValidationFailed: If it breaks a rule.
    """
    parsed = parse(SubnetBody, body)
    network = parse_network(parsed.cidr, "/cidr") if parsed.cidr else None
    start, end = _range(parsed, network)
    if parsed.cooldown:
        raise ValidationFailed.at("/cooldown", "is not supported in this version; leave it out or send 0")
    low, high = (network[0], network[-1]) if network else (start, end)
    gateway = parse_address(parsed.gateway, "/gateway") if parsed.gateway else None
    if gateway is not None:
        _check_inside(gateway, gateway, low, high, "/gateway")
    for index, text in enumerate(parsed.exclusions or ()):
        pointer = f"/exclusions/{index}"
        _check_inside(*parse_exclusion(text, pointer), low, high, pointer)
    exclusions = tuple(
        normal_exclusion(text, f"/exclusions/{index}") for index, text in enumerate(parsed.exclusions or ())
    )
    return SubnetSpec(
        **written(parsed),
        start=start,
        end=end,
        cidr=str(network) if network else None,
        gateway=gateway,
        exclusions=exclusions,
        strategy=_one_of(Strategy, parsed.strategy, "/strategy") or Strategy.NEXT,
    )


def _range(parsed: SubnetBody, network: Network | None) -> tuple[Address, Address]:
    if network:
        start, end = bounds(network)
        for name, text, bound in (("start", parsed.start, start), ("end", parsed.end, end)):
            if text and parse_address(text, f"/{name}") != bound:
                raise ValidationFailed.at(
                    f"/{name}", f"is {text}, but of the cidr it is {bound}; give either, or both alike"
                )
        check_family(network[0], network[-1], "/cidr")
        return start, end
    if not (parsed.start and parsed.end):
        missing = "/end" if parsed.start else "/start"
        raise ValidationFailed.at(missing, "is missing: a subnet needs start and end, or cidr")
    start, end = parse_address(parsed.start, "/start"), parse_address(parsed.end, "/end")
    if start.version != end.version:
        raise ValidationFailed.at("/end", f"is IPv{end.version}, start is IPv{start.version}")
    if int(start) > int(end):
        raise ValidationFailed.at("/end", f"is below start: {end} < {start}")
    check_family(start, end, "/end")
    return start, end


def _check_inside(first: Address, last: Address, low: Address, high: Address, pointer: str) -> None:
    if first.version != low.version:
        raise ValidationFailed.at(pointer, f"is IPv{first.version}, the subnet is IPv{low.version}")
    outside = next((one for one in (first, last) if not int(low) <= int(one) <= int(high)), None)
    if outside is not None:
        raise ValidationFailed.at(pointer, f"{outside} is not in the subnet, which is {low} to {high}")


def requests_in(body: Json) -> list[Any]:
    """Return the bodies of the requests in *body*, which has a list of them under `reservations`.

    Raises:
        ValidationFailed: If that is none, or too long, or something else is there as well.
    """
    beside = [name for name, value in body.items() if name != "reservations" and not is_empty(value)]
    if beside:
        raise ValidationFailed.of(
            [(f"/{name}", "stands beside a list; put it into the requests in it") for name in beside]
        )
    requests = body["reservations"]
    if not isinstance(requests, list):
        raise ValidationFailed.at("/reservations", "must be a list of requests")
    if len(requests) > REQUESTS_MAX:
        raise ValidationFailed.at(
            "/reservations", f"has {len(requests)} requests; it may have {REQUESTS_MAX} at most"
        )
    return requests


def reservation_request(body: Json, kind: str) -> ReservationRequest:
    """Return the addresses that *body* asks for, of a *kind*, `subnet` or `pool`.

    Raises:
        ValidationFailed: If it breaks a rule, or asks for what this version cannot do.
    """
    later = [name for name in _LATER if not is_empty(body.get(name))]
    if later:
        raise ValidationFailed.of(
            [(f"/{name}", "is not supported in this version; leave it out") for name in later]
        )
    parsed = parse(ReservationBody, {name: value for name, value in body.items() if name not in _LATER})
    if kind != "pool":
        _refuse(parsed, _OF_POOLS, "is only for requests to a pool; leave it out")
    if parsed.addresses:
        _refuse(parsed, ("contiguous", "strategy", *_OF_POOLS), "cannot be combined with addresses; leave it out")
    request = ReservationRequest(
        **written(parsed),
        count=_count(parsed),
        addresses=_addresses(parsed.addresses or ()),
        contiguous=bool(parsed.contiguous),
        strategy=_one_of(Strategy, parsed.strategy, "/strategy"),
        spread=_one_of(Spread, parsed.spread, "/spread"),
        ipv4=parsed.ipv4 or 0,
        ipv6=parsed.ipv6 or 0,
    )
    if request.count > COUNT_MAX:
        raise ValidationFailed.at(
            "/ipv6", f"and ipv4 come to {request.count}; together they may be at most {COUNT_MAX}"
        )
    return request


def token_fields(body: Json) -> Json:
    """Return the writable fields of the token that *body* asks for.

    Raises:
        ValidationFailed: If it breaks a rule.
    """
    parsed = parse(TokenBody, body)
    return {
        **written(parsed),
        "role": _one_of(Role, parsed.role, "/role") or Role.VIEWER,
        "expires_at": _time(parsed.expires_at, "/expires_at") if parsed.expires_at else None,
        "allowed_from": tuple(
            parse_allowed_from(text, f"/allowed_from/{index}")
            for index, text in enumerate(parsed.allowed_from or ())
        ),
        "disabled": bool(parsed.disabled),
    }


def replaced_token(token: Token, body: Json) -> Token:
    """Return *token* with the writable fields of *body*; those that it does not name have their default.

    Raises:
        ValidationFailed: If it breaks a rule.
    """
    return replace(token, **token_fields(body))


def patched_token(token: Token, body: Json) -> Token:
    """Return *token* changed by the merge patch *body* (RFC 7396).

    Raises:
        ValidationFailed: If it breaks a rule.
    """
    shown = token.to_json()
    return replaced_token(token, merge_patch({name: shown[name] for name in TokenBody.model_fields}, body))


def _time(text: str, pointer: str) -> datetime:
    try:
        return parse_time(text)
    except ValueError as error:
        raise ValidationFailed.at(pointer, str(error)) from None


def _refuse(parsed: BaseModel, names: Iterable[str], why: str) -> None:
    given = [
        name for name in names if getattr(parsed, name) not in (None, "") and getattr(parsed, name) is not False
    ]
    if given:
        raise ValidationFailed.of([(f"/{name}", why) for name in given])


def _count(parsed: ReservationBody) -> int:
    """Return how many addresses are wanted, whichever way it was said; a count beside another way must agree.

    Raises:
        ValidationFailed: If they do not agree, or none is wanted.
    """
    families = [count for count in (parsed.ipv4, parsed.ipv6) if count is not None]
    if parsed.addresses is not None:
        said, pointer = len(parsed.addresses), "/addresses"
    elif families:
        said, pointer = sum(families), "/ipv6" if parsed.ipv4 is None else "/ipv4"
    else:
        return parsed.count or 1
    if not said:
        raise ValidationFailed.at(pointer, "asks for no address; ask for one at least, or leave it out")
    if parsed.count not in (None, said):
        raise ValidationFailed.at(
            "/count", f"is {parsed.count}, but asked for: {count_addresses(said)}; leave it out"
        )
    return said


def _addresses(texts: Sequence[str]) -> tuple[str, ...]:
    """Return *texts* in their normal form."""
    seen: dict[Address, int] = {}
    for index, text in enumerate(texts):
        address = parse_address(text, f"/addresses/{index}")
        if seen.setdefault(address, index) != index:
            raise ValidationFailed.at(
                f"/addresses/{index}", f"{address} is there twice, at {seen[address]} already"
            )
    return tuple(map(str, seen))


def _one_of(kind: type[E], text: str | None, pointer: str) -> E | None:
    if not text:
        return None
    try:
        return kind(text)
    except ValueError:
        raise ValidationFailed.at(pointer, f"is {text!r}; it may be {', '.join(kind)}") from None
