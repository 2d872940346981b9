"""Metrics of each request."""

from __future__ import annotations

import time

import falcon

from ipam.api.http.metrics import RequestMetrics


class RequestMetricsMiddleware:
    """Middleware: counts each request with its time, however it was answered."""

    def __init__(self, metrics: RequestMetrics) -> None:
        self._metrics = metrics

    def process_request(self, req: falcon.Request, _resp: falcon.Response) -> None:
        """Note when the request began."""
        req.context.began_s = time.perf_counter()

    def process_response(self, req: falcon.Request, resp: falcon.Response, *_: object) -> None:
        """Count it."""
        took_s = time.perf_counter() - req.context.began_s
        self._metrics.observe(req.uri_template, req.method, resp.status_code, took_s)
