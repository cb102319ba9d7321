"""A reverse proxy on the loopback that serves a service under a path prefix."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import httpx
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Mount, Route

from tests.bento.support import WAIT, on_loopback

# Of one connection, or of a body that was decoded on the way.
_HOP = {"connection", "transfer-encoding", "content-length", "content-encoding", "host"}


@contextmanager
def behind_prefix(url: str, prefix: str) -> Iterator[str]:
    """`url` under `prefix` of another address, which answers 404 to everything else."""

    @asynccontextmanager
    async def client(app: Starlette) -> AsyncIterator[None]:
        async with httpx.AsyncClient(base_url=url, timeout=WAIT) as app.state.client:
            yield

    async def forward(request: Request) -> Response:
        answer = await request.app.state.client.request(
            request.method,
            request.path_params["path"],
            params=request.query_params,
            headers={k: v for k, v in request.headers.items() if k not in _HOP},
            content=await request.body(),
        )
        headers = {k: v for k, v in answer.headers.items() if k not in _HOP}
        return Response(answer.content, answer.status_code, headers)

    async def missing(request: Request) -> Response:
        return PlainTextResponse("nothing here", 404)

    methods = ["GET", "HEAD", "POST"]
    routes = [
        Mount(prefix, routes=[Route("/{path:path}", forward, methods=methods)]),
        Route("/{path:path}", missing, methods=methods),
    ]
    app = Starlette(routes=routes, lifespan=client)
    config = uvicorn.Config(app, lifespan="on", log_level="critical")
    with on_loopback(config) as started:
        yield f"{started}{prefix}"
