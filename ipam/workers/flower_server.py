"""Flower, which answers only to names of its own."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import flower.command
from celery import Celery
from tornado.httputil import HTTPServerRequest
from tornado.web import ErrorHandler

from ipam.settings import Settings
from ipam.util.host_names import HostNames

# A probe calls Flower by whatever address it has, and learns nothing but whether it works.
_PROBES = ("/healthcheck",)


def run_flower(app: Celery, settings: Settings) -> None:
    """Show the workers and tasks of *app* in a browser until told to stop."""
    flower.command.Flower = _answering_to([settings.flower_address, *settings.own_hosts()])
    app.start(["flower", f"--address={settings.flower_address}", f"--port={settings.flower_port}"])


def _answering_to(names: Collection[str]) -> type[Any]:
    """Return Flower's application, but that it refuses what is meant for hosts of other *names* (status 400).

    Flower itself answers to any, so that a page in a browser could read what tasks there are.
    """
    known = HostNames(names)

    class Flower(flower.command.Flower):  # type: ignore[misc]  # (flower has no types)
        def find_handler(self, request: HTTPServerRequest, **named: Any) -> Any:
            if request.host in known or request.path in _PROBES:
                return super().find_handler(request, **named)
            return self.get_handler_delegate(request, ErrorHandler, {"status_code": 400})

    return Flower
