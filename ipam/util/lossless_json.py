"""JSON whose numbers come back as they were sent, to the last digit.

To Python `1e5` and `100000.0` are one number, `3.14159265358979323846` is a shorter one, and an integer of 5000
digits is an attack. So what Python would spell otherwise is kept as its text; all else is what `json` makes of it.
"""

from __future__ import annotations

import re
from collections import Counter
from decimal import Decimal, InvalidOperation
from typing import Any

import simplejson
from simplejson import JSONDecodeError, RawJSON

__all__ = ["DuplicateKeyError", "JSONDecodeError", "RawJSON", "canonical_number", "dumps", "is_number", "loads"]

# Python takes time that grows with the square of the digits, and refuses some thousands of them.
_DIGITS_MAX = 40
# Made once: to make one takes longer than to write what is small.
_AS_IT_IS, _IN_ORDER = (
    simplejson.JSONEncoder(ensure_ascii=False, separators=(",", ":"), sort_keys=sort_keys)
    for sort_keys in (False, True)
)
_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")


class DuplicateKeyError(ValueError):
    """An object has a *key* twice, of which one value would be dropped."""

    def __init__(self, key: str) -> None:
        super().__init__(key)
        self.key = key


def loads(text: str | bytes, *, unique_keys: bool = False) -> Any:
    """Return the value that *text* spells; a `RawJSON` stands for a number that Python would spell otherwise.

    Of a key that an object has twice the last value counts, unless they are to be *unique_keys*.

    Raises:
        JSONDecodeError: If it is not JSON; NaN and Infinity are not.
        DuplicateKeyError: If an object has a key twice that may not.
        RecursionError: If it is nested too deep.
    """
    to_object = _object_of_unique if unique_keys else None
    return simplejson.loads(text, parse_int=_integer, parse_float=_fraction, object_pairs_hook=to_object)


def dumps(value: Any, *, sort_keys: bool = False) -> str:
    """Return *value* as compact JSON text."""
    text: str = (_IN_ORDER if sort_keys else _AS_IT_IS).encode(value)
    return text


def is_number(text: str) -> bool:
    """Return whether *text* is a number in JSON."""
    return _NUMBER.fullmatch(text) is not None


def canonical_number(text: str) -> str:
    """Return one text for all spellings of the number that *text* is: 7, 7.0 and 0.7e1 have the same."""
    try:
        sign, digits, exponent = Decimal(text).as_tuple()
    except InvalidOperation:  # An exponent of twenty digits.
        return text
    significant = "".join(map(str, digits)).rstrip("0")
    if not significant:
        return "0"
    return f"{'-' if sign else ''}{significant}e{int(exponent) + len(digits) - len(significant)}"


def _object_of_unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        ((key, _),) = Counter(key for key, _ in pairs).most_common(1)
        raise DuplicateKeyError(key)
    return value


def _integer(text: str) -> int | RawJSON:
    return int(text) if len(text) <= _DIGITS_MAX and text != "-0" else RawJSON(text)


def _fraction(text: str) -> float | RawJSON:
    number = float(text)
    return number if repr(number) == text else RawJSON(text)
