"""Metadata comes back as it was sent, and is found by what it says."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipam.models.metadata import FACETS_FREE_BYTES, FACETS_PER_BYTE, encode, facets, metadata_facets
from ipam.util.lossless_json import canonical_number, dumps, is_number, loads

DIGITS = st.text("0123456789", min_size=1, max_size=60)
NUMBERS = st.builds(
    lambda sign, whole, fraction, exponent: sign + (whole.lstrip("0") or "0") + fraction + exponent,
    st.sampled_from(["", "-"]),
    DIGITS,
    st.one_of(st.just(""), DIGITS.map(lambda digits: f".{digits}")),
    st.one_of(st.just(""), st.builds("{}{}".format, st.sampled_from(["e", "E", "e+", "E-"]), st.integers(0, 400))),
)
# Few characters, of which most mean something somewhere.
KEYS = st.lists(st.text(".%=#2E5a", max_size=4), min_size=1, max_size=3)


@given(NUMBERS)
def test_a_number_keeps_its_spelling(text):
    assert is_number(text)
    assert dumps(loads(text)) == text
    assert dumps(loads(f'{{"a":[{text}]}}')) == f'{{"a":[{text}]}}'


def test_an_integer_may_have_more_digits_than_python_takes():
    assert dumps(loads("9" * 5000)) == "9" * 5000


@given(NUMBERS, NUMBERS)
def test_facets_of_two_spellings_are_the_same_when_the_numbers_are(one, other):
    assert (canonical_number(one) == canonical_number(other)) is (Decimal(one) == Decimal(other))


@given(NUMBERS, st.integers(0, 5))
def test_zeros_at_the_end_change_nothing(text, zeros):
    mantissa, e, exponent = text.partition("e" if "e" in text else "E")
    longer = (mantissa if "." in mantissa else f"{mantissa}.") + "0" * (zeros + 1) + e + exponent
    assert canonical_number(longer) == canonical_number(text)


@given(KEYS, KEYS, st.sampled_from(["7", "x", "=", "#=7e0"]))
def test_two_paths_never_share_a_facet(one, other, value):
    def facets_of(keys):
        metadata = value
        for key in reversed(keys):
            metadata = {key: metadata}
        return facets("", (), metadata)

    assert (facets_of(one) == facets_of(other)) is (one == other)


@pytest.mark.parametrize(
    ("key_length", "numbers", "bounded_by"),
    [
        (30_000, 3000, FACETS_PER_BYTE),  # As much as one request may ask for.
        (400, 60, None),  # As much as a thousand in a list may ask for, each.
    ],
)
def test_facets_of_a_document_are_bounded_and_begin_at_the_beginning(key_length, numbers, bounded_by):
    long_paths = {"first": 1, "k" * key_length: {f"{n:04}": 7 for n in range(numbers)}, "last": 1}
    found = facets("name", ("tag",), long_paths)
    assert found[:3] == ["name=name", "tag=tag", "metadata.first#=1e0"]
    size, each = len(encode(long_paths)), key_length + len("metadata..0000#=7e0")
    most = bounded_by * size if bounded_by else FACETS_FREE_BYTES
    assert len(found) == 3 + (most - len(found[2])) // each < 3 + numbers


def test_flat_metadata_is_found_by_all_of_it():
    vlans = {"vlans": list(range(900)), "note": "x" * 60_000}
    assert len(facets("", (), vlans)) == 901


@given(KEYS, st.sampled_from(["7", "7.0", "x", "true"]))
def test_metadata_key_escaped_in_a_query_is_found(keys, value):
    """Percent signs and dots in keys have to be written by their numbers; `=` and `#` may be."""
    metadata = value
    for key in reversed(keys):
        metadata = {key: metadata}
    path = ".".join(key.replace("%", "%25").replace(".", "%2E") for key in keys)
    assert set(facets("", (), metadata)) & set(metadata_facets(path, value))
