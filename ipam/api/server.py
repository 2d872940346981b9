"""Serving the application with waitress."""

from __future__ import annotations

import logging
import signal
from types import FrameType

import falcon
from waitress.server import create_server

from ipam.errors import InvalidSettings

log = logging.getLogger(__name__)
# Above the limit of a body, so that a body that is over it gets our own 413; far above, and waitress cuts it off.
_WAITRESS_MAX_BODY_BYTES = 64 * 1024 * 1024


def serve(app: falcon.App[falcon.Request, falcon.Response], host: str, port: int, threads: int) -> None:
    """Serve until SIGTERM or SIGINT.

    Raises:
        InvalidSettings: If the address cannot be listened on.
    """
    try:
        server = create_server(
            app,
            host=host,
            port=port,
            threads=threads,
            ident="ipam",
            max_request_body_size=_WAITRESS_MAX_BODY_BYTES,
            clear_untrusted_proxy_headers=True,
        )
    except (OSError, ValueError) as error:
        message = f"Cannot listen on {host}:{port}: {error}; choose another --host or --port."
        raise InvalidSettings(message) from None

    def stop(_signal: int, _frame: FrameType | None) -> None:
        raise SystemExit(0)

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    log.info("serving on http://%s:%s", host, getattr(server, "effective_port", port))
    server.run()
