"""Events as the world sees them: CloudEvents 1.0 in structured JSON."""

from __future__ import annotations

from typing import Any

from ipam.exact_json import RawJSON
from ipam.models.log import Entry
from ipam.models.views import time_json

# As many digits as 64 bits need: so sequences sort as text, which the CloudEvents extension `sequence` asks for.
_DIGITS = 20


def cloud_event(entry: Entry, source: str) -> dict[str, Any]:
    """The CloudEvent of an entry of the log; *source* tells this installation from others on the same bus."""
    event, origin = entry.event, entry.event.origin
    extensions = {
        "actor": origin.actor,
        "requestid": origin.request_id,
        "traceparent": origin.traceparent,
        "amendedby": origin.amended_by,
    }
    return {
        "specversion": "1.0",
        "id": event.id,
        "source": source,
        "type": event.type,
        "subject": event.paths[0],
        "time": time_json(event.time),
        "sequence": sequence_text(entry.sequence),
        **{name: value for name, value in extensions.items() if value is not None},
        "datacontenttype": "application/json",
        "data": RawJSON(event.data),
    }


def sequence_text(sequence: int) -> str:
    """A sequence as events show it."""
    return f"{sequence:0{_DIGITS}}"
