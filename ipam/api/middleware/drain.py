"""The end of a web process: what is begun is answered, nothing new is."""

from __future__ import annotations

import threading
from collections.abc import Callable

import falcon

from ipam.errors import Transient


class DrainMiddleware:
    """Middleware: once *stopping* is set, `/livez` alone is answered as ever.

    A request finds in its context whether its caller has `given_up`, or is made to: then no caller waits for what
    it still waits for.
    """

    def __init__(self, stopping: threading.Event) -> None:
        self._stopping = stopping

    def process_request(self, req: falcon.Request, _resp: falcon.Response) -> None:
        """Let the request in.

        Raises:
            Transient: If this process is to stop.
        """
        hung_up: Callable[[], bool] = req.env.get("waitress.client_disconnected", lambda: False)
        req.context.given_up = lambda: self._stopping.is_set() or hung_up()
        if self._stopping.is_set() and req.path != "/livez":
            raise Transient("This process is stopping: ask another one, or this one when it is back.")
