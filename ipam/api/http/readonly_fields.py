"""Fields that a body may carry and cannot write: what was read can be sent back as it is."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from contextlib import suppress
from ipaddress import ip_address, ip_network
from typing import Any

from ipam.errors import ValidationFailed
from ipam.models.cidr import normal_exclusion
from ipam.models.metadata import is_same

Json = dict[str, Any]

# Empty as Go and JavaScript clients send what they do not mean to set.
_EMPTY: tuple[Any, ...] = (None, "", [], {})


def strip_readonly(body: Json, fixed: Mapping[str, Any], computed: Collection[str]) -> Json:
    """Return *body* without the fields that cannot be written.

    Args:
        body: What was sent.
        fixed: Fields that may be sent when they are empty or as they are, with what they are; None for what is not
            known before it is created.
        computed: Fields that may be sent whatever their value.

    Raises:
        ValidationFailed: If it would change a fixed field.
    """
    wrong = [name for name, value in body.items() if name in fixed and not _agrees(value, fixed[name])]
    if wrong:
        raise ValidationFailed.of([(f"/{name}", _refusal(fixed[name])) for name in wrong])
    return {name: value for name, value in body.items() if name not in fixed and name not in computed}


def is_empty(value: Any) -> bool:
    """Return whether *value* means nothing, as an empty text does; 0 and false mean something."""
    return any(is_same(value, empty) for empty in _EMPTY)


def _agrees(value: Any, stored: Any) -> bool:
    return is_empty(value) or is_same(_spelled(value), _spelled(stored))


def _spelled(value: Any) -> Any:
    """Return *value* in one spelling: ids and addresses may be in capitals, IPv6 addresses in several forms."""
    if isinstance(value, list):
        return [_spelled(item) for item in value]
    if not isinstance(value, str):
        return value
    for parse in (ip_address, ip_network):
        with suppress(ValueError):
            return str(parse(value))
    if "-" in value:
        with suppress(ValidationFailed):
            return normal_exclusion(value, "")
    return value.lower()


def _refusal(stored: Any) -> str:
    return "cannot be set; leave it out" if stored is None else f"cannot be changed; it is {stored!r}"
