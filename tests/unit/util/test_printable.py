"""What comes from outside, in logs and on terminals."""

import io
import json
import logging

import pytest

from ipam.util.printable import LineFormatter, printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain \u00e4\u4e2d", "plain \u00e4\u4e2d"),
        ("a\nb\r\tc", r"a\nb\r\tc"),
        ("\x1b[2J\x9b31m", r"\u001b[2J\u009b31m"),
        ("\u202eevil\u2028", r"\u202eevil\u2028"),
    ],
)
def test_printable_escapes_control_characters(text, shown):
    assert printable(text) == shown
    assert json.loads(printable(json.dumps(text, ensure_ascii=False))) == text


@pytest.fixture
def logged():
    """A logger, and what it has written."""
    stream, log = io.StringIO(), logging.getLogger("of a test")
    handler = logging.StreamHandler(stream)
    handler.setFormatter(LineFormatter("%(levelname)s %(message)s"))
    log.addHandler(handler)
    yield log, stream.getvalue
    log.removeHandler(handler)


def test_a_line_has_an_end(logged):
    log, written = logged
    log.warning("x" * 1_000_000)
    assert written() == f"WARNING {'x' * 8192} ... and 991808 characters more\n"


def test_a_record_is_a_line_and_its_traceback_is_indented(logged):
    log, written = logged
    forged = "GET /x\n2026-11-30 INFO all is well\x1b[1A"
    log.warning("%s hung up\n", forged)
    log.error("failed", exc_info=ValueError(forged))
    first, second, *others = written().splitlines()
    assert first == r"WARNING GET /x\n2026-11-30 INFO all is well\u001b[1A hung up"
    assert second == "ERROR failed"
    assert others[0] == "    ValueError: GET /x"
    assert all(line.startswith("    ") and line.isprintable() for line in others)
