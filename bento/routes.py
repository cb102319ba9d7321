"""The HTTP application: a route for every endpoint, and the descriptions of the service."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from bento.description.bentoml_client import client_schema
from bento.description.listing import Listing
from bento.description.openapi import Description
from bento.endpoints import Endpoint, endpoints
from bento.errors import ErrorShape, RequestError
from bento.exchange.bodies import JSON, read_body
from bento.exchange.exchange import Exchange
from bento.exchange.opening import Opening
from bento.exchange.streaming import Lifetime, Streams
from bento.exchange.turns import Turns
from bento.page import PageFile, page_files
from bento.protocols import Lookup, lookups, protocols
from bento.repository.models import Models
from bento.settings import Settings
from bento.traffic.budget import Shares
from bento.traffic.calls import Calls, call_of, refusal
from runtime import InputError
from runtime.artifact.manifest import SHEET

Handler = Callable[[Request, Lifetime], Awaitable[Response]]


def build_app(
    settings: Settings, models: Models, find_tracer: Callable[[], Any] = lambda: None
) -> Calls:
    """The HTTP application over `models`, which may be loaded later.

    Its `paths` are all it knows; `bento.errors.JsonErrors` belongs around it.
    """
    shares, listing = Shares(settings.queue_images), Listing(settings, models)
    description = Description(settings, models)
    streams, turns = Streams(settings.queue_images), Turns()
    opening = Opening(settings.opening_pixels, settings.max_pixels)

    def endpoint_handler(name: str, endpoint: Endpoint) -> Handler:
        async def answer(request: Request, life: Lifetime) -> Response:
            body = await read_body(request, endpoint.reads, settings)
            if body.content and request.method != "POST":
                # A cache would take it for the request without this body.
                raise InputError("body", "none: the options of a GET stand in the query", "some")
            life.end_with_client(request.receive)
            parts = settings, models, streams, opening, shares, turns
            return await endpoint.answer(Exchange(name, request, body, *parts, life))

        return answer

    async def ready(request: Request, life: Lifetime) -> Response:
        missing = await models.missing()
        if missing is None:
            return JSONResponse({"status": "ready"})
        # Without a key nobody is told what is served.
        loading = [] if settings.api_key else [vars(entry) for entry in models.loading]
        body = {"error": f"not ready: {missing}", "loading": loading}
        return JSONResponse(body, 503, {"Retry-After": "1"})

    async def described(request: Request, life: Lifetime) -> Response:
        return Response(description.json(), media_type=JSON)

    async def listed_for_bentoml(request: Request, life: Lifetime) -> Response:
        return JSONResponse(client_schema())

    posts = {f"/{name}": endpoint_handler(name, endpoint) for name, endpoint in endpoints().items()}
    posts |= {
        path: endpoint_handler(each.request, each.endpoint) for path, each in protocols().items()
    }
    # BentoML's own description, at /docs.json, would know nothing of these.
    gets: dict[str, Handler] = {
        "/models": listing.all,
        "/models/{model}": listing.one,
        f"/models/{{model}}/{SHEET}": listing.sheet,
        "/readyz": ready,
        "/openapi.json": described,
        "/docs.json": described,
        "/schema.json": listed_for_bentoml,
    }
    gets |= {path: lookup_handler(each, models) for path, each in lookups().items()}
    gets |= {path: page_handler(file) for path, file in page_files().items()}
    gets |= {f"/{name}": posts[f"/{name}"] for name, e in endpoints().items() if not e.needs_body}
    routes: dict[str, dict[str, ASGIApp]] = {}
    # The server leaves out the body of a reply to HEAD.
    for method, handlers in (("POST", posts), ("GET", gets), ("HEAD", gets)):
        for path, handler in handlers.items():
            routes.setdefault(path, {})[method] = Timed(handler, settings.timeout_seconds)
    shapes: dict[str, ErrorShape | None] = dict.fromkeys(routes)
    shapes |= {path: each.errors for path, each in {**protocols(), **lookups()}.items()}
    return Calls(Routes(routes), settings, shapes, find_tracer)


def lookup_handler(lookup: Lookup, models: Models) -> Handler:
    async def answer(request: Request, life: Lifetime) -> Response:
        return await lookup.answer(request, models)

    return answer


def page_handler(file: PageFile) -> Handler:
    async def answer(request: Request, life: Lifetime) -> Response:
        return file.response(request.headers.get("if-none-match"))

    return answer


class Routes:
    """ASGI: what answers a request, by its endpoint (`bento.traffic.calls`) and method."""

    def __init__(self, routes: Mapping[str, Mapping[str, ASGIApp]]) -> None:
        self.routes = routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        methods = self.routes.get(call_of(scope).endpoint, {})
        reply = methods.get(scope["method"])
        if not methods:
            error = RequestError(404, "no such path: /openapi.json describes those there are")
            reply = refusal(scope, error)
        elif reply is None:
            text = f"{scope['method']} is not possible here, see the Allow header"
            headers = {"Allow": ", ".join(sorted(methods))}
            reply = refusal(scope, RequestError(405, text, headers=headers))
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
            response = refusal(scope, error)
        await response(scope, receive, send)
