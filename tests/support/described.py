"""Holds answers against the description of the API: every one that a test gets over the wire."""

import re
from functools import cache
from typing import Union
from urllib.parse import urlsplit

import requests
from pydantic import TypeAdapter

from ipam.api.http.media_types import JSON, vendor_type
from ipam.api.http.problems import MEDIA_TYPE, PROBLEMS
from ipam.api.openapi.document import problems_of
from ipam.api.openapi.operations import SECTIONS, Operation
from ipam.api.openapi.parameters import ANSWER_HEADERS
from ipam.wire.problems import Problem

OPERATIONS = {route: one for operations in SECTIONS.values() for route, one in operations.items()}
# What needs no token.
PUBLIC = ("/livez", "/readyz", "/openapi.json", "/docs", "/docs/{file}", "/problems/{slug}")
# What the router answers where there is no operation.
NO_OPERATION = (404, 405)


@cache
def _patterns() -> list[tuple[str, re.Pattern[str]]]:
    """Each route, the more special ones first, and what its requests look like."""
    routes = sorted(OPERATIONS, key=lambda route: route.count("{"))
    return [(route, re.compile(re.sub(r"\{\w+\}", "[^/]+", route))) for route in routes]


def operation_of(method: str, path: str) -> tuple[str, Operation] | None:
    """The route of a request and its operation; None where there is none."""
    asked = f"{'GET' if method == 'HEAD' else method} {path.rstrip('/') or '/'}"
    return next(((route, OPERATIONS[route]) for route, pattern in _patterns() if pattern.fullmatch(asked)), None)


def assert_described(answer: requests.Response) -> None:
    """Fail if the description does not allow *answer*: its status, its headers, its media type or its body."""
    method, path = answer.request.method, urlsplit(answer.request.url).path
    found = operation_of(method, path)
    if found is None:
        assert answer.status_code in NO_OPERATION or answer.status_code in _refused_anywhere(), (method, path)
        return
    route, operation = found
    where = (method, path, answer.status_code, answer.text[:1000])
    described = operation.answers.get(answer.status_code)
    media_type = answer.headers.get("Content-Type", "")
    if described is None:
        assert media_type == MEDIA_TYPE, where
        if method == "HEAD":
            return
        problem = Problem.model_validate_json(answer.content)
        slug = problem.type.removeprefix("/problems/")
        assert slug in problems_of(route, operation, is_public=route.split()[1] in PUBLIC), where
        assert problem.status == answer.status_code == PROBLEMS[slug][0], where
        return
    allowed = {*described.headers, "X-Request-Id"}
    assert not {name for name in ANSWER_HEADERS if name in answer.headers} - allowed, (where, answer.headers)
    if not described.models:
        assert media_type.partition(";")[0] in (described.media_types or ("",)), (where, media_type)
        return
    kinds = {vendor_type(model.media_kind): model for model in described.models if model.media_kind}
    assert media_type == JSON or media_type in kinds, where
    if method != "HEAD":
        possible = [kinds[media_type]] if media_type in kinds else described.models
        TypeAdapter(Union[*possible]).validate_json(answer.content)


def _refused_anywhere() -> set[int]:
    return {PROBLEMS[slug][0] for slug in ("unauthorized", "too-many-attempts", "cross-site", "invalid-parameter")}
