"""URLs: their parts, and what of them may be shown."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

_BETWEEN_URLS = re.compile("[;,](?=[a-z]+://)")


def without_password(value: str) -> str:
    """Return *value*, which may be a URL, with the credentials before an `@` and in its query struck out."""
    # Several are separated by what stands before a scheme.
    if len(urls := re.split(r"[;,](?=[a-z]+://)", value)) > 1:
        return ";".join(map(without_password, urls))
    address, mark, query = value.partition("?")
    scheme, slashes, rest = address.rpartition("://")
    # A password may hold what should have been escaped: a slash, or an @.
    shown = f"{scheme}{slashes}***@{rest.rpartition('@')[2]}" if "@" in rest else address
    return shown + mark + re.sub(r"=[^&]*", "=***", query)


def in_url(host: str) -> str:
    """Return *host* as it stands in a URL: an IPv6 address within brackets."""
    return f"[{host}]" if ":" in host else host


def of_scheme(value: str, schemes: tuple[str, ...]) -> str:
    """Return *value*, one URL or several, as kombu and NATS take them.

    Raises:
        ValueError: If one of them begins with none of *schemes*, or its port cannot be one.
    """
    for one in _BETWEEN_URLS.split(value):
        if urlsplit(one).scheme not in schemes:
            message = f"must start with one of {', '.join(scheme + '://' for scheme in schemes)}"
            raise ValueError(message)
        if "," not in one:  # What follows a comma may be a host without a scheme.
            port_of(one)
    return value


def port_of(url: str) -> int | None:
    """Return the port that *url* names.

    Raises:
        ValueError: If it cannot be one.
    """
    try:
        port = urlsplit(url).port
    except ValueError:
        port = 0
    if port == 0:
        message = "its port must be a number from 1 to 65535; in a password / and @ are written %2F and %40"
        raise ValueError(message)
    return port
