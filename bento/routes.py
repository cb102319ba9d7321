"""The HTTP application: a route for every endpoint, and the descriptions of the service."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from bento.bentoml_client import client_schema
from bento.bodies import read_body
from bento.budget import Shares
from bento.calls import Calls, call_of
from bento.endpoint import Endpoint
from bento.endpoints import endpoints
from bento.errors import RequestError, error_response
from bento.exchange import Exchange
from bento.models import Models, describe
from bento.openapi import openapi_document
from bento.opening import Opening
from bento.page import page
from bento.protocols import protocols
from bento.settings import Settings
from bento.streaming import Lifetime, Streams

Handler = Callable[[Request, Lifetime], Awaitable[Response]]


def build_app(
    settings: Settings, models: Models, find_tracer: Callable[[], Any] = lambda: None
) -> Calls:
    """The HTTP application over `models`, which may be loaded later.

    Its `paths` are all it knows; `bento.errors.JsonErrors` belongs around it.
    """
    shares = Shares(settings.queue_images)
    streams, opening = (
        Streams(settings.queue_images),
        Opening(settings.opening_pixels, settings.max_pixels),
    )

    def posting(name: str, endpoint: Endpoint) -> Handler:
        async def post(request: Request, life: Lifetime) -> Response:
            body = await read_body(request, endpoint.reads, settings)
            life.end_with_client(request.receive)
            x = Exchange(name, request, body, settings, models, streams, opening, shares, life)
            return await endpoint.answer(x)

        return post

    async def listed(request: Request, life: Lifetime) -> Response:
        served = [describe(model) for model in models]
        loading = [vars(entry) for entry in models.loading]
        failed = [vars(entry) for entry in models.failed]
        return JSONResponse({"models": served, "loading": loading, "failed": failed})

    async def ready(request: Request, life: Lifetime) -> Response:
        missing = await models.missing()
        if missing is None:
            return JSONResponse({"status": "ready"})
        # Without a key nobody is told what is served.
        loading = [] if settings.api_key else [vars(entry) for entry in models.loading]
        body = {"error": f"not ready: {missing}", "loading": loading}
        return JSONResponse(body, 503, {"Retry-After": "1"})

    async def described(request: Request, life: Lifetime) -> Response:
        return JSONResponse(openapi_document(settings, models))

    async def shown(request: Request, life: Lifetime) -> Response:
        return page()

    async def listed_for_bentoml(request: Request, life: Lifetime) -> Response:
        return JSONResponse(client_schema())

    posts = {f"/{name}": posting(name, endpoint) for name, endpoint in endpoints().items()}
    posts |= {path: posting(each.request, each.endpoint) for path, each in protocols().items()}
    # BentoML's own description, at /docs.json, would know nothing of these.
    gets: dict[str, Handler] = {
        "/": shown,
        "/models": listed,
        "/readyz": ready,
        "/openapi.json": described,
        "/docs.json": described,
        "/schema.json": listed_for_bentoml,
    }
    seconds = settings.timeout_seconds
    routes = {
        path: Route(path, Timed(handler, seconds), methods=[method])
        for method, handlers in (("POST", posts), ("GET", gets))
        for path, handler in handlers.items()
    }
    return Calls(Routes(routes), settings, routes.keys(), find_tracer)


class Routes:
    """ASGI: the route of a request's endpoint (`bento.calls.endpoint_of`)."""

    def __init__(self, routes: Mapping[str, Route]) -> None:
        self.routes = routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        route = self.routes.get(call_of(scope).endpoint)
        if route is None:
            error = RequestError(404, "no such path: /openapi.json describes those there are")
            reply: ASGIApp = error_response(error)
        elif scope["method"] not in (route.methods or ()):
            allowed = ", ".join(sorted(route.methods or ()))
            text = f"{scope['method']} is not possible here, see the Allow header"
            reply = error_response(RequestError(405, text, headers={"Allow": allowed}))
        else:
            reply = route.handle
        await reply(scope, receive, send)


class Timed:
    """ASGI: a handler within the time limit, its exceptions turned into replies.

    An object, for Starlette puts further layers around a function.
    """

    def __init__(self, handler: Handler, seconds: float) -> None:
        self.handler, self.seconds = handler, seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            async with Lifetime(self.seconds) as life:
                response = await self.handler(Request(scope, receive), life)
        except Exception as error:
            response = error_response(error, call_of(scope).id)
        await response(scope, receive, send)
