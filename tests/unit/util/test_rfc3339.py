"""Times in requests."""

from datetime import UTC, datetime

import pytest

from ipam.util.rfc3339 import parse_time


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-11-27T12:00:00Z", datetime(2026, 11, 27, 12, tzinfo=UTC)),
        ("2026-11-27t12:00:00z", datetime(2026, 11, 27, 12, tzinfo=UTC)),
        ("2026-11-27 12:00:00.25+01:30", datetime(2026, 11, 27, 10, 30, 0, 250_000, tzinfo=UTC)),
        ("2026-11-27T12:00:00.123456789-00:00", datetime(2026, 11, 27, 12, 0, 0, 123_456, tzinfo=UTC)),
        ("2016-12-31T23:59:60Z", datetime(2017, 1, 1, tzinfo=UTC)),
    ],
)
def test_a_time_is_read_as_rfc_3339_has_it(text, expected):
    assert parse_time(text) == expected
    assert parse_time(text).tzinfo is UTC


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "such as"),
        ("yesterday", "such as"),
        ("2026-11-27", "such as"),
        ("2026-11-27T12:00:00", "such as"),
        ("2026-W48-5T12:00:00Z", "such as"),
        ("20261127T120000Z", "such as"),
        ("2026-11-27T12:00Z", "such as"),
        ("2026-11-27T12:00:00,5Z", "such as"),
        ("2026-11-27T12:00:00+0100", "such as"),
        ("2026-11-27T12:00:00+24:00", "such as"),
        ("\u0662026-11-27T12:00:00Z", "such as"),
        ("2026-11-27T12:00:00 01:00", "%2B"),
        ("2026-02-30T12:00:00Z", "calendar"),
        ("2026-11-27T24:00:00Z", "calendar"),
        ("0000-01-01T00:00:00Z", "calendar"),
        ("0001-01-01T00:00:00+01:00", "calendar"),
        ("9999-12-31T23:59:60Z", "calendar"),
    ],
)
def test_text_that_is_no_rfc_3339_time_is_refused_with_what_to_change(text, why):
    with pytest.raises(ValueError, match=why):
        parse_time(text)
