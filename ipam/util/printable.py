"""Escaping of text from outside before it is written to a log or a terminal.

What is escaped cannot begin a line of its own, and a terminal takes nothing in it for a command.
"""

from __future__ import annotations

import json
import logging

# The longest line of a log: what a caller sends must not fill a disk.
_MOST_CHARACTERS = 8192


def printable(text: str) -> str:
    """Return *text* with all unprintable characters escaped as in JSON; JSON text stays JSON."""
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else json.dumps(one)[1:-1] for one in text)


def shortened(text: str) -> str:
    """Return *text*, or its beginning and the number of characters left out."""
    left_out = len(text) - _MOST_CHARACTERS
    return text if left_out <= 0 else f"{text[:_MOST_CHARACTERS]} ... and {left_out} characters more"


class LineFormatter(logging.Formatter):
    """Formats each record as one line; the lines of a traceback follow it, indented."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 (as the library calls it)
        """Return the line of *record*, whose message has been formatted."""
        record.message = printable(shortened(record.message.rstrip()))
        return super().formatMessage(record)

    def format(self, record: logging.LogRecord) -> str:
        """Return the line of *record* and its traceback."""
        first, *others = super().format(record).splitlines()
        return "\n".join([first, *(f"    {printable(shortened(line))}" for line in others)])
