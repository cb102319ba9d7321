"""What stands before BentoML: the API key, and our endpoints in front of its middleware.

Tracing, access log and per-request set-up of BentoML cost a small image's request more than its
share of the engine. So what is ours is answered first, with metrics of its own in the same
registry; everything else (`/livez`, `/readyz`, `/metrics`, the page, start and stop) is BentoML's.
"""

import hmac
from collections.abc import Callable, Collection

from starlette.types import ASGIApp, Receive, Scope, Send

from bento.errors import RequestError, error_response

OPEN_PATHS = frozenset({"/livez", "/readyz", "/healthz"})
"""What orchestrators ask, who have no key."""


class Front:
    """ASGI: requests for one of `paths` go to `ours`, all else to `theirs`; `observe` is called
    before metrics are told."""

    def __init__(
        self, paths: Collection[str], ours: ASGIApp, theirs: ASGIApp, observe: Callable[[], None]
    ) -> None:
        self.paths, self.ours, self.theirs, self.observe = paths, ours, theirs, observe

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.theirs(scope, receive, send)
        elif scope["path"] in self.paths:
            await self.ours(scope, receive, send)
        else:
            if scope["path"] == "/metrics":
                self.observe()
            await self.theirs(scope, receive, send)


class ApiKey:
    """ASGI middleware: 401 for whoever does not send `Authorization: Bearer KEY`."""

    def __init__(self, app: ASGIApp, key: str) -> None:
        self.app, self.key = app, key.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan" or scope["path"] in OPEN_PATHS or self._is_known(scope):
            await self.app(scope, receive, send)
        elif scope["type"] == "http":
            await error_response(_unauthorized())(scope, receive, send)
        else:
            await send({"type": "websocket.close"})

    def _is_known(self, scope: Scope) -> bool:
        sent = [value for name, value in scope["headers"] if name == b"authorization"]
        scheme, _, key = (sent[0] if len(sent) == 1 else b"").partition(b" ")
        # In constant time, so that the key cannot be guessed byte by byte.
        return scheme.lower() == b"bearer" and hmac.compare_digest(key.strip(), self.key)


def _unauthorized() -> RequestError:
    return RequestError(
        401,
        "an API key is needed",
        field="authorization",
        expected="Bearer and the service's key",
        found="no key, or another",
        headers={"WWW-Authenticate": "Bearer"},
    )
