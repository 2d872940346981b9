"""Events as the world sees them: CloudEvents 1.0 in structured JSON."""

from __future__ import annotations

from typing import Any

from ipam.storage.event_log import LogEntry
from ipam.util.lossless_json import RawJSON
from ipam.util.rfc3339 import format_time

# As many digits as 64 bits need: so sequences sort as text, which the CloudEvents extension `sequence` asks for.
_DIGITS = 20


def cloud_event(entry: LogEntry, source: str) -> dict[str, Any]:
    """Return the CloudEvent of an entry of the log; *source* is the URI of this installation."""
    event, audit_context = entry.event, entry.event.audit_context
    extensions = {
        "actor": audit_context.actor,
        "requestid": audit_context.request_id,
        "traceparent": audit_context.traceparent,
        "amendedby": audit_context.amended_by,
    }
    return {
        "specversion": "1.0",
        "id": event.id,
        "source": source,
        "type": event.type,
        "subject": event.paths[0],
        "time": format_time(event.time),
        "sequence": sequence_text(entry.sequence),
        **{name: value for name, value in extensions.items() if value is not None},
        "datacontenttype": "application/json",
        "data": RawJSON(event.data),
    }


def sequence_text(sequence: int) -> str:
    """Return a sequence as events show it."""
    return f"{sequence:0{_DIGITS}}"
