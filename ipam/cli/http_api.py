"""Requests of commands to the HTTP API."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click
import requests

from ipam.util.lossless_json import JSONDecodeError, loads

# Longer than the longest wait that the API knows.
_TIMEOUT_S = 75
_SERVER_FAULT = 500


class ApiUnavailable(Exception):
    """The API does not answer, or cannot do its work; it may later."""


def get(url: str, path: str, token: str | None, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return the JSON at *path* of the API at *url*; the *token* is sent if there is one.

    Raises:
        ApiUnavailable: If there is no answer, or one that is no fault of the request.
        click.ClickException: If the API refuses the request.
    """
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    try:
        answer = requests.get(f"{url.rstrip('/')}{path}", params=parameters, headers=headers, timeout=_TIMEOUT_S)
        if answer.status_code >= _SERVER_FAULT:
            answer.raise_for_status()
        page: dict[str, Any] = loads(answer.text)
    except (requests.RequestException, JSONDecodeError) as error:
        raise ApiUnavailable(f"{url} does not answer ({type(error).__name__}).") from None
    if not answer.ok:
        raise click.ClickException(page.get("detail", answer.text))
    return page
