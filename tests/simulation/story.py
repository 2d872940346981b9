"""What happened in a history, told so that a person can follow it."""

from __future__ import annotations

import re
from collections import deque

from tests.simulation.virtual import Clock

# Ids are numbered in the order in which they were made; see `virtual_world`.
_ID = re.compile(r"(?:ObjectId\(')?\b[0-9a-f]{18}([0-9a-f]{6})\b(?:'\))?")
_KEPT_STEPS = 4000
_LONGEST_STEP = 240


class Story:
    """The last steps of a history: at what time, who, what."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._steps: deque[tuple[float, str, object]] = deque(maxlen=_KEPT_STEPS)

    def tell(self, who: str, what: object) -> None:
        """Add a step; *what* is made into text only when somebody reads the story."""
        self._steps.append((self._clock.now_s, who, what))

    def __str__(self) -> str:
        return "\n".join(f"{at_s:9.2f} s  {who:34} {_readable(str(what))}" for at_s, who, what in self._steps)


def _readable(text: str) -> str:
    text = _ID.sub(lambda found: f"#{int(found[1], 16)}", text)
    return text if len(text) <= _LONGEST_STEP else text[:_LONGEST_STEP] + " ..."
