"""The endpoints in front of BentoML's middleware.

Tracing, access log and per-request set-up of BentoML cost a small image's request more than its
share of the engine. So what is ours is answered first, with metrics of its own in the same
registry; everything else (`/livez`, `/readyz`, `/metrics`, the page, start and stop) is BentoML's.
"""

import time
from functools import cache
from typing import Any

from starlette.applications import Starlette
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from bento.errors import JsonErrors


class Front:
    """ASGI: requests for the paths of `ours` go straight to their routes, all else to `theirs`."""

    def __init__(self, ours: Starlette, theirs: ASGIApp) -> None:
        self.routes = {route.path: route for route in ours.routes if isinstance(route, Route)}
        self.ours, self.theirs = JsonErrors(RequestMetrics(self._handle)), theirs

    async def _handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.routes[scope["path"]].handle(scope, receive, send)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_ours = scope["type"] == "http" and scope["path"] in self.routes
        await (self.ours if is_ours else self.theirs)(scope, receive, send)


class RequestMetrics:
    """ASGI middleware of an app whose paths are few.

    How many requests an endpoint answered with which status (`cut` where a reply broke off), and
    how long they took until the last byte was handed over.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self._series: dict[tuple[str, str], tuple[Any, Any]] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        began = time.perf_counter()
        status = "cut"

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = str(message["status"])
            await send(message)

        try:
            await self.app(scope, receive, noting)
        except BaseException:
            status = "cut"
            raise
        finally:
            # Looking labels up costs more than counting.
            key = (scope["path"], status)
            if key not in self._series:
                self._series[key] = tuple(m.labels(*key) for m in _metrics())
            requests, seconds = self._series[key]
            requests.inc()
            seconds.observe(time.perf_counter() - began)


@cache
def _metrics() -> tuple[Any, Any]:
    # Imported late: BentoML first sets where the metrics of all its processes come together.
    from prometheus_client import Counter, Histogram

    labels = ("endpoint", "status")
    return (
        Counter("latentserve_requests", "Requests answered.", labels),
        Histogram("latentserve_request_seconds", "Seconds from request to reply.", labels),
    )
