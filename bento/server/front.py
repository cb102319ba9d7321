"""What stands before BentoML: the API key, and our endpoints in front of its middleware.

Tracing, access log and per-request set-up of BentoML cost a small image's request more than its
share of the engine. So what is ours is answered first, with metrics of its own in the same
registry; everything else (`/livez`, `/readyz`, `/metrics`, the page's files, start and stop) is
BentoML's.
"""

import hmac
from collections.abc import Callable, Mapping
from pathlib import Path

from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from bento.errors import ErrorShape, RequestError
from bento.page import page_files
from bento.protocols.open_inference import JSON_LENGTH
from bento.settings import Settings
from bento.traffic.calls import Calls, refusal

_PROBES = ("/livez", "/healthz")
OPEN_PATHS = frozenset({*_PROBES, "/readyz", "/v2/health/live", "/v2/health/ready"})
"""What orchestrators ask, who have no key. `/readyz` is ours: BentoML's does not say what is
missing."""
_METRICS = "/metrics"


class Front:
    """ASGI: BentoML's own paths go to `theirs`, all others to `ours`.

    BentoML keeps metrics of every path that it is asked for, so that it must not see any that a
    client made up. `observe` is called before metrics are told, `begin` in the event loop before
    there are requests.
    """

    def __init__(
        self,
        ours: ASGIApp,
        theirs: ASGIApp,
        observe: Callable[[], None],
        begin: Callable[[], None] = lambda: None,
    ) -> None:
        self.ours, self.theirs, self.observe, self.begin = ours, theirs, observe, begin
        self.their_paths = {*_PROBES, _METRICS, *_swagger_files()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            self.begin()
            await self.theirs(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close"})
        elif scope["path"] in self.their_paths:
            if scope["path"] == _METRICS:
                self.observe()
            await self.theirs(scope, receive, send)
        else:
            await self.ours(scope, receive, send)


def _swagger_files() -> list[str]:
    """What the API reference at /docs loads (`bento.page`)."""
    import bentoml._internal.server as server

    folder = Path(server.__file__).parent / "static_content"
    return [f"/static_content/{file.name}" for file in folder.iterdir()]


def guarded(app: ASGIApp, settings: Settings, paths: Mapping[str, ErrorShape | None]) -> ASGIApp:
    """`app`, which has our endpoints at `paths`, behind the API key and CORS of the settings."""
    key = settings.api_key
    if key is not None:
        # Around the refusals, too: they are counted, logged and have an id.
        app = ApiKey(app, key.get_secret_value(), Calls(refuse, settings, paths))
    return with_cors(app, settings.cors_origins)


def with_cors(app: ASGIApp, origins: str) -> ASGIApp:
    """`app`, callable from pages of these origins (separated by commas, or `*`)."""
    if not origins.strip():
        return app
    return CORSMiddleware(
        app,
        allow_origins=[origin.strip() for origin in origins.split(",")],
        allow_methods=("GET", "POST"),
        allow_headers=(
            "Authorization",
            "Content-Type",
            "If-None-Match",
            "X-Request-ID",
            JSON_LENGTH,
        ),
        expose_headers=(
            "ETag",
            "X-Seed",
            "X-Model",
            "X-Request-ID",
            "Retry-After",
            JSON_LENGTH,
        ),
    )


class ApiKey:
    """ASGI middleware: 401 for whoever does not send `Authorization: Bearer KEY`, by `refusing`,
    which is `refuse` or a middleware around it."""

    def __init__(self, app: ASGIApp, key: str, refusing: ASGIApp | None = None) -> None:
        self.app, self.refusing, self.key = app, refusing or refuse, key.strip().encode()
        # The page says nothing of what is served, and asks for the key itself.
        self.open_paths = {*OPEN_PATHS, *page_files(), *_swagger_files()}
        if not self.key:
            raise ValueError("expected a key, found none: everybody would have it")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan" or scope["path"] in self.open_paths or self._is_known(scope):
            await self.app(scope, receive, send)
        elif scope["type"] == "http":
            await self.refusing(scope, receive, send)
        else:
            await send({"type": "websocket.close"})

    def _is_known(self, scope: Scope) -> bool:
        sent = [value for name, value in scope["headers"] if name == b"authorization"]
        scheme, _, key = (sent[0] if len(sent) == 1 else b"").partition(b" ")
        # In constant time, so that the key cannot be guessed byte by byte.
        return scheme.lower() == b"bearer" and hmac.compare_digest(key.strip(), self.key)


async def refuse(scope: Scope, receive: Receive, send: Send) -> None:
    """ASGI: 401."""
    error = RequestError(
        401,
        "an API key is needed",
        field="authorization",
        expected="Bearer and the service's key",
        found="no key, or another",
        headers={"WWW-Authenticate": "Bearer"},
    )
    await refusal(scope, error)(scope, receive, send)
