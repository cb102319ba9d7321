"""The endpoints: read, ask a model, reply. Their only state is the settings and the models."""

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar
from weakref import WeakKeyDictionary, WeakSet

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from bento.bodies import BYTES, JSON, NPY, Body, in_thread, read_array, read_body, read_options
from bento.calls import Call, Calls, call_of
from bento.errors import RequestError, error_response
from bento.models import Models, describe, full_name
from bento.openapi import openapi_document
from bento.page import page
from bento.replies import (
    ARRAY_REPLIES,
    PICTURE_REPLIES,
    Pictures,
    check_pictures,
    check_posterior,
    choose_format,
    encode_pictures,
    encode_posterior,
    image_shape,
    is_streamed,
    needs_origins,
    posterior_bytes,
    with_labels,
)
from bento.schemas import (
    DecodeOptions,
    DecodeRequest,
    EncodeOptions,
    InterpolateRequest,
    ManifoldRequest,
    PictureOptions,
    SampleRequest,
    SizedOptions,
    from_strings,
)
from bento.settings import Settings
from bento.streaming import ArrayStream, Lifetime
from bento.uploads import UPLOADS, read_upload
from runtime import (
    Decode,
    Encode,
    InputError,
    Interpolate,
    Model,
    OverloadedError,
    Reconstruct,
    Sample,
)
from runtime.batching.jobs import Job
from runtime.images import UInt8Array
from runtime.images.encoding import MEDIA_TYPES
from runtime.requests.checks import check_labels
from runtime.requests.manifold import Manifold
from runtime.requests.translate import Translate
from runtime.sampling.streams import MAX_SEED

T = TypeVar("T")
Handler = Callable[[Request, Lifetime], Awaitable[Response]]
Post = Callable[[Request, Body], Coroutine[Any, Any, Response]]

# As many seeds as fit comfortably into a header.
_MAX_SEEDS_IN_HEADER = 256


def build_app(
    settings: Settings, models: Models, find_tracer: Callable[[], Any] = lambda: None
) -> Calls:
    """The HTTP application over `models`, which may be loaded later.

    Its `paths` are all it knows; `bento.errors.JsonErrors` belongs around it.
    """
    api = _Api(settings, models)
    posts: dict[str, tuple[Post, tuple[str, ...]]] = {
        "/sample": (api.sample, (JSON,)),
        "/decode": (api.decode, (JSON, NPY, BYTES)),
        "/encode": (api.encode, UPLOADS),
        "/reconstruct": (api.reconstruct, UPLOADS),
        "/interpolate": (api.interpolate, (JSON,)),
        "/manifold": (api.manifold, (JSON,)),
        "/translate": (api.translate, UPLOADS),
    }
    # BentoML's own description, at /docs.json, would know nothing of these.
    gets: dict[str, Handler] = {
        "/": api.page,
        "/models": api.list_models,
        "/openapi.json": api.describe,
        "/docs.json": api.describe,
    }
    seconds = settings.timeout_seconds
    routes = {
        **{p: _route(p, api.posting(*post), "POST", seconds) for p, post in posts.items()},
        **{p: _route(p, get, "GET", seconds) for p, get in gets.items()},
    }
    return Calls(Routes(routes), settings, routes.keys(), find_tracer)


def _route(path: str, handler: Handler, method: str, seconds: float) -> Route:
    return Route(path, Endpoint(handler, seconds), methods=[method])


class Routes:
    """ASGI: the route whose path is exactly the request's."""

    def __init__(self, routes: Mapping[str, Route]) -> None:
        self.routes = routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        route = self.routes.get(scope["path"])
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


class Endpoint:
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


class _Api:
    def __init__(self, settings: Settings, models: Models) -> None:
        self.settings = settings
        self.models = models
        # Those being sent, by model; a stream leaves when nobody holds it any more.
        self.streams: WeakKeyDictionary[Model, WeakSet[ArrayStream]] = WeakKeyDictionary()

    def posting(self, handler: Post, accepted: tuple[str, ...]) -> Handler:
        """`handler`, given a body of one of the accepted media types, for as long as its client
        is there."""

        async def post(request: Request, life: Lifetime) -> Response:
            body = await read_body(request, accepted, self.settings)
            life.end_with_client(request.receive)
            return await handler(request, body)

        return post

    def model(self, request: Request, name: str | None) -> Model:
        """The model that a request names, which must answer it."""
        model = self.models.get(name, request.url.path.removeprefix("/"))
        call_of(request.scope).model = model.manifest.name
        return model

    async def run(self, call: Call, model: Model, job: Job[T]) -> T:
        """Admission, queue, engine. Cancelling this takes the work out of the queue."""
        return await asyncio.wrap_future(model.submit(_traced(job, call), wait=False))

    async def sample(self, request: Request, body: Body) -> Response:
        asked = await read_options(request, body, SampleRequest, self.settings.max_images)
        model = self.model(request, asked.model)
        n, seed, seeds = asked.n, asked.seed, asked.seeds or []
        if not seeds:
            n = 1 if n is None else n
            seed = secrets.randbelow(MAX_SEED) if seed is None else seed
        call_of(request.scope).seed = seed
        work = Sample(
            n, seed, asked.offset, asked.seeds, asked.labels, asked.truncation, asked.size
        )
        job = work.job(model)
        field = "seeds" if seeds else "n"
        chosen = self.chosen_format(request, asked, model, job, field)
        shown = seeds or [seed]
        headers: dict[str, str] = {}
        if len(shown) <= _MAX_SEEDS_IN_HEADER:
            headers["X-Seed"] = ",".join(map(str, shown))

        def origins() -> list[dict[str, Any]]:
            numbers = (array.tolist() for array in work.counter.numbers())
            made = [{"seed": s, "index": i} for s, i in zip(*numbers, strict=True)]
            return with_labels(made, model, work.chosen_labels(model.manifest))

        return await self.pictures(request, model, job, chosen, asked.columns, origins, headers)

    async def decode(self, request: Request, body: Body) -> Response:
        if body.kind == JSON:
            asked = await read_options(request, body, DecodeRequest, self.settings.max_images)
            latents = asked.latents
        else:
            options = dict(request.query_params)
            asked = from_strings(DecodeOptions, options, self.settings.max_images)
            latents = read_array(body)
        model = self.model(request, asked.model)
        work = Decode(latents, asked.labels, asked.seed or 0, asked.truncation, asked.size)
        job = await in_thread(latents.nbytes, work.job, model)
        self.check_count("latents", job.count)
        chosen = self.chosen_format(request, asked, model, job, "latents")
        return await self.decoded(request, model, job, chosen, asked)

    async def encode(self, request: Request, body: Body) -> Response:
        asked, upload = await read_upload(request, body, EncodeOptions, self.settings)
        model = self.model(request, asked.model)
        manifest = model.manifest
        spec = await upload.spec(manifest, "encode", asked.size, self.settings)
        images = upload.room(spec, self.settings)
        job = Encode(images, asked.labels, asked.seed).job(model)
        self.check_count("images", job.count)
        chosen = choose_format(asked.format, request.headers.get("accept"), ARRAY_REPLIES)
        latent = manifest.latent
        values = job.count * (0 if latent is None else latent.values(job.size))
        check_posterior(chosen, values, self.settings.max_reply_bytes)
        await upload.fill(images, spec, self.settings)
        call = call_of(request.scope)
        call.images = job.count
        call.seed = asked.seed
        encoded = await self.run(call, model, job)

        def made() -> bytes:
            with call.encoding(chosen):
                return encode_posterior(encoded, full_name(model), chosen)

        reply = await in_thread(posterior_bytes(chosen, values), made)
        return Response(reply, 200, {"X-Model": full_name(model)}, MEDIA_TYPES[chosen])

    async def reconstruct(self, request: Request, body: Body) -> Response:
        asked, upload = await read_upload(request, body, SizedOptions, self.settings)
        model = self.model(request, asked.model)
        spec = await upload.spec(model.manifest, "encode", asked.size, self.settings)
        images = upload.room(spec, self.settings)
        job = Reconstruct(images, asked.labels, asked.seed or 0).job(model)
        self.check_count("images", job.count)
        chosen = self.chosen_format(request, asked, model, job, "images")
        await upload.fill(images, spec, self.settings)
        return await self.decoded(request, model, job, chosen, asked)

    async def interpolate(self, request: Request, body: Body) -> Response:
        asked = await read_options(request, body, InterpolateRequest, self.settings.max_images)
        model = self.model(request, asked.model)
        latents = [x for x in (asked.a, asked.b) if x is not None]
        if len(latents) != (2 if asked.seeds is None else 0):
            found = f"{len(latents)} latents" + (" and seeds" if asked.seeds else "")
            raise InputError("seeds", "two seeds, or two latents a and b", found)
        if asked.seeds is not None:
            a, b = model.latents(seeds=asked.seeds, truncation=asked.truncation)
        elif asked.truncation is not None:
            raise InputError("truncation", "none: a and b are given", str(asked.truncation))
        else:
            a, b = latents
        job = Interpolate(a, b, asked.steps, asked.kind, asked.labels).job(model)
        chosen = self.chosen_format(request, asked, model, job, "steps")
        return await self.decoded(request, model, job, chosen, asked)

    async def manifold(self, request: Request, body: Body) -> Response:
        asked = await read_options(request, body, ManifoldRequest, self.settings.max_images)
        model = self.model(request, asked.model)
        job = Manifold(asked.steps, asked.labels, asked.seed or 0).job(model)
        chosen = self.chosen_format(request, asked, model, job, "steps")
        if asked.columns is None:
            asked = asked.model_copy(update={"columns": asked.steps})
        return await self.decoded(request, model, job, chosen, asked)

    async def translate(self, request: Request, body: Body) -> Response:
        asked, upload = await read_upload(request, body, DecodeOptions, self.settings)
        model = self.model(request, asked.model)
        spec = await upload.spec(model.manifest, "translate", asked.size, self.settings)
        images = upload.room(spec, self.settings)
        mask = await upload.open_mask(spec, self.settings)
        work = Translate(images, mask, asked.labels, asked.seed or 0, asked.truncation)
        job = work.job(model)
        self.check_count("images", job.count)
        chosen = self.chosen_format(request, asked, model, job, "images")
        await upload.fill(images, spec, self.settings)
        return await self.decoded(request, model, job, chosen, asked)

    async def list_models(self, request: Request, life: Lifetime) -> Response:
        return JSONResponse(
            {
                "models": [describe(model) for model in self.models],
                "failed": [vars(failed) for failed in self.models.failed],
            }
        )

    async def page(self, request: Request, life: Lifetime) -> Response:
        return page()

    async def describe(self, request: Request, life: Lifetime) -> Response:
        return JSONResponse(openapi_document(self.settings, self.models))

    def check_count(self, field: str, count: int, *, streamed: bool = False) -> None:
        """For what the options alone do not tell: how many images a body holds, and how many a
        reply of the chosen format may."""
        limit = self.settings.max_streamed_images if streamed else self.settings.max_images
        if count > limit:
            raise InputError(field, f"at most {limit} images a request", str(count))

    def chosen_format(
        self,
        request: Request,
        asked: PictureOptions,
        model: Model,
        job: Job[UInt8Array],
        field: str,
    ) -> str:
        """The reply's format, once it is clear that the job's images go into it."""
        count = job.count
        chosen = choose_format(asked.format, request.headers.get("accept"), PICTURE_REPLIES)
        streamed = is_streamed(chosen, model, job)
        self.check_count(field, count, streamed=streamed)
        if not streamed:
            shape, limit = image_shape(model, job), self.settings.max_reply_bytes
            check_pictures(chosen, asked.columns, count, shape, limit, field)
        return chosen

    async def decoded(
        self,
        request: Request,
        model: Model,
        job: Job[UInt8Array],
        chosen: str,
        asked: PictureOptions,
    ) -> Response:
        """The reply of all that decodes latents which no seed describes."""

        def origins() -> list[dict[str, Any]]:
            labels = check_labels(model.manifest, asked.labels, job.count)
            return with_labels([{"index": i} for i in range(job.count)], model, labels)

        return await self.pictures(request, model, job, chosen, asked.columns, origins)

    async def pictures(
        self,
        request: Request,
        model: Model,
        job: Job[UInt8Array],
        chosen: str,
        columns: int | None,
        origins: Callable[[], Sequence[Mapping[str, Any]]],
        headers: Mapping[str, str] | None = None,
    ) -> Response:
        call = call_of(request.scope)
        call.images = job.count
        sent = {"X-Model": full_name(model), **(headers or {})}
        if is_streamed(chosen, model, job):
            return await self.streamed(model, _traced(job, call), sent)
        images = await self.run(call, model, job)

        def encoded() -> bytes:
            with call.encoding(chosen):
                told = origins() if needs_origins(chosen) else None
                return encode_pictures(Pictures(full_name(model), images, told), chosen, columns)

        return Response(await in_thread(images.nbytes, encoded), 200, sent, MEDIA_TYPES[chosen])

    async def streamed(
        self, model: Model, job: Job[UInt8Array], headers: Mapping[str, str]
    ) -> Response:
        """The reply of more images than one batch, begun when its first part is there: until then
        a failure has a status of its own."""
        streams = self.streams.setdefault(model, WeakSet())
        # Streams together keep half of the queue free for others.
        room = self.settings.queue_images // (2 * model.window(job))
        if len(streams) >= max(1, room):
            raise OverloadedError(model.queued, self.settings.queue_images)
        parts = model.parts(job, wait=False)
        try:
            first = await asyncio.wrap_future(next(parts))
        except BaseException:
            parts.close()
            raise
        shape = (job.count, *image_shape(model, job))
        stream = ArrayStream(first, parts, shape, self.settings.timeout_seconds, headers)
        streams.add(stream)
        return stream


def _traced(job: Job[T], call: Call) -> Job[T]:
    """The job, its stages told to the request's trace where there is one."""
    return job if call.trace is None else replace(job, timed=call.trace.stage)
