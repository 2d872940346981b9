"""The OpenAPI 3.1 document, made of the operations and the models."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from itertools import groupby
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaMode, JsonSchemaValue, models_json_schema
from pydantic_core import core_schema

from ipam import __version__
from ipam.api.http import problems
from ipam.api.http.media_types import JSON, MERGE_PATCH, vendor_type
from ipam.api.middleware.authentication import Access
from ipam.api.openapi.operations import SECTIONS, Answer, Operation
from ipam.api.openapi.parameters import (
    ANSWER_HEADERS,
    OF_EVERY_REQUEST,
    PARAMETERS,
    PATH_PARAMETERS,
    TEXT,
    TOKEN_ID,
)
from ipam.wire.examples import EXAMPLES
from ipam.wire.problems import Problem

Json = dict[str, Any]

_DESCRIPTION = """\
Pools have subnets, subnets have addresses, and reservations take addresses of them, all or nothing.

HEAD is answered wherever GET is. A resource is `application/vnd.ipam.<kind>+json; version=1.0.0`, or
`application/json` for those who `Accept` that; fields that are read only may be sent back as they were read.
Errors are problem details (RFC 9457)."""

# What a request may always be answered with.
_OF_EVERY_REQUEST = (
    *("malformed-request", "invalid-parameter", "cross-site", "headers-too-large", "not-implemented"),
    *("internal", "unavailable"),
)
_OF_A_TOKEN = ("unauthorized", "forbidden", "too-many-attempts")
_OF_A_BODY = ("malformed-json", "invalid", "unsupported-media-type", "too-large")
_HEADERS_OF_PROBLEMS = {
    "too-many-attempts": "Retry-After",
    "unauthorized": "WWW-Authenticate",
    "unavailable": "Retry-After",
}


def describe(access: Mapping[str, Access]) -> Json:
    """Return the OpenAPI document, in which each operation names the role that *access* asks for, by path."""
    paths: dict[str, Json] = {}
    refusals: dict[str, Json] = {}
    for section, operations in SECTIONS.items():
        for route, operation in operations.items():
            method, path = route.split()
            role = access[path.replace("{id}", "{id_}")].role(method)
            by_status = _by_status(problems_of(route, operation, is_public=role is None))
            refusals |= {_response_name(slugs): _refusal(slugs) for slugs in by_status.values()}
            shown = _operation(method, operation, role)
            shown["tags"] = [section]
            shown["responses"] |= {
                status: {"$ref": f"#/components/responses/{_response_name(slugs)}"}
                for status, slugs in by_status.items()
            }
            paths.setdefault(path, _path_item(path))[method.lower()] = shown
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "ipam",
            "version": __version__,
            "summary": "Reserves IP addresses",
            "description": _DESCRIPTION,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "tags": [{"name": section} for section in SECTIONS],
        "security": [{"bearer": []}, {"basic": []}, {}],
        "paths": paths,
        "components": {
            "schemas": _schemas(),
            "parameters": PARAMETERS,
            "responses": dict(sorted(refusals.items())),
            "headers": ANSWER_HEADERS,
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer", "description": "A token of ipam."},
                "basic": {"type": "http", "scheme": "basic", "description": "Any user, the token as password."},
            },
        },
    }


def problems_of(route: str, operation: Operation, *, is_public: bool) -> tuple[str, ...]:
    """Return the slugs of all problems that *operation*, of a method and path, may be answered with, by status."""
    method, path = route.split()
    slugs = [*_OF_EVERY_REQUEST, *operation.problems]
    if not is_public:
        slugs += _OF_A_TOKEN
    if operation.is_query_checked:
        slugs.append("unknown-parameter")
    if operation.is_negotiated and method != "DELETE":  # What was deleted is no more for that.
        slugs.append("not-acceptable")
    if operation.bodies:
        slugs += _OF_A_BODY
    if "If-Match" in operation.parameters:
        slugs.append("stale")
    if path == "/tokens/self" or re.search(r"\{(id|file|slug)\}", path):
        slugs.append("not-found")
    return tuple(sorted(slugs, key=lambda slug: (problems.PROBLEMS[slug][0], slug)))


def _path_item(path: str) -> Json:
    """Return what all operations of *path* have in common: its parameters."""
    shown = []
    for name in re.findall(r"\{(\w+)\}", path):
        description, schema = PATH_PARAMETERS[name]
        own = {"schema": TOKEN_ID if path.startswith("/tokens/") else schema}
        shown.append({"name": name, "in": "path", "required": True, "description": description, **own})
    return {"parameters": shown} if shown else {}


def _operation(method: str, operation: Operation, role: str | None) -> Json:
    """Return the description of *operation*, which asks for *role*, without its problems."""
    shown: Json = {"operationId": operation.id, "summary": operation.summary}
    if role is None:
        shown["security"] = []
    else:
        shown["description"] = f"Needs a token of the role `{role}`, where tokens are needed."
    names = (*operation.parameters, *OF_EVERY_REQUEST)
    shown["parameters"] = [{"$ref": f"#/components/parameters/{name}"} for name in names]
    if operation.bodies:
        shown["requestBody"] = {
            "required": True,
            "content": _content(_request_types(method, operation), operation.bodies),
        }
    shown["responses"] = {str(status): _answer(answer) for status, answer in sorted(operation.answers.items())}
    return shown


def _request_types(method: str, operation: Operation) -> Iterable[str]:
    merging = [MERGE_PATCH] if method == "PATCH" else []
    return (JSON, *merging, *map(vendor_type, operation.body_kinds))


def _answer(answer: Answer) -> Json:
    shown: Json = {"description": answer.description, "headers": _headers((*answer.headers, "X-Request-Id"))}
    if answer.models:
        shown["content"] = _content([JSON], answer.models)
        for model in answer.models:
            if model.media_kind:
                shown["content"] |= _content([vendor_type(model.media_kind)], (model,))
    elif answer.media_types:
        shown["content"] = {
            one: {"schema": {"type": "object"} if one == JSON else TEXT} for one in answer.media_types
        }
    return shown


def _by_status(slugs: Iterable[str]) -> dict[str, tuple[str, ...]]:
    return {str(status): tuple(some) for status, some in groupby(slugs, lambda slug: problems.PROBLEMS[slug][0])}


def _response_name(slugs: Iterable[str]) -> str:
    """Return the name of the answer with one of the problems *slugs*."""
    return ".".join(slugs)


def _refusal(slugs: Iterable[str]) -> Json:
    names = {_HEADERS_OF_PROBLEMS[slug]: None for slug in slugs if slug in _HEADERS_OF_PROBLEMS}
    return {
        "description": "\n".join(f"- `{slug}`: {problems.PROBLEMS[slug][1]}" for slug in slugs),
        "headers": _headers((*names, "X-Request-Id")),
        "content": _content([problems.MEDIA_TYPE], (Problem,)),
    }


def _headers(names: Iterable[str]) -> Json:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}


def _content(media_types: Iterable[str], models: tuple[type[BaseModel], ...]) -> Json:
    references = [{"$ref": f"#/components/schemas/{model.__name__}"} for model in models]
    schema: Json = references[0] if len(references) == 1 else {"anyOf": references}
    return {media_type: {"schema": schema} for media_type in media_types}


class _Schemas(GenerateJsonSchema):
    """JSON schemas without what says nothing: titles of fields, and null as a default."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        """Return that it should not."""
        del schema
        return False

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        """Return the schema of the value itself."""
        return self.generate_inner(schema["schema"])


def _schemas() -> Json:
    """Return the schemas of all models, by name."""
    modes: dict[type[BaseModel], JsonSchemaMode] = {Problem: "serialization"}
    for operations in SECTIONS.values():
        for operation in operations.values():
            modes.update(dict.fromkeys(operation.bodies, "validation"))
            for answer in operation.answers.values():
                modes.update(dict.fromkeys(answer.models, "serialization"))
    _, schema = models_json_schema(
        [*modes.items()], ref_template="#/components/schemas/{model}", schema_generator=_Schemas
    )
    found: Json = schema["$defs"]
    for model, example in EXAMPLES.items():
        found[model.__name__]["examples"] = [example]
    return dict(sorted(found.items()))
