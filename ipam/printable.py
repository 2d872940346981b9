"""Text from outside, as it may stand in a log or on a terminal.

Nothing in it can begin a line of its own, or be taken by a terminal for something to do.
"""

from __future__ import annotations

import json
import logging

# Of one line; a body that somebody sends is no reason to fill a disk.
_MOST_CHARACTERS = 8192


def printable(text: str) -> str:
    """Return *text* with whatever cannot be printed escaped as in JSON; so what was JSON still is."""
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else json.dumps(one)[1:-1] for one in text)


def shortened(text: str) -> str:
    """Return *text*, or its beginning and how much was left out."""
    left_out = len(text) - _MOST_CHARACTERS
    return text if left_out <= 0 else f"{text[:_MOST_CHARACTERS]} ... and {left_out} characters more"


class LineFormatter(logging.Formatter):
    """Makes a line of each record; the lines of a traceback that follow it are indented."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 (as the library calls it)
        """Return the line of *record*, whose message is formatted already."""
        record.message = printable(shortened(record.message.rstrip()))
        return super().formatMessage(record)

    def format(self, record: logging.LogRecord) -> str:
        """Return the line of *record*, and what follows it."""
        first, *others = super().format(record).splitlines()
        return "\n".join([first, *(f"    {printable(shortened(line))}" for line in others)])
