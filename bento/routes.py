"""The endpoints: read, ask a model, reply. Their only state is the settings and the models."""

import asyncio
import re
import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from bento.bodies import BYTES, NPY, in_thread, media_type, read_npy, read_options, read_upload
from bento.errors import error_response
from bento.models import Models, describe, full_name
from bento.openapi import openapi_document
from bento.replies import (
    ARRAY_REPLIES,
    PICTURE_REPLIES,
    Pictures,
    check_sheet,
    choose_format,
    encode_pictures,
    encode_posterior,
    needs_origins,
)
from bento.schemas import (
    DecodeRequest,
    EncodeOptions,
    InterpolateRequest,
    PictureOptions,
    SampleRequest,
    from_strings,
)
from bento.settings import Settings
from runtime import Decode, Encode, InputError, Manifest, Model, Sample
from runtime.batching import Job
from runtime.encoding import MEDIA_TYPES
from runtime.images import UInt8Array
from runtime.streams import MAX_SEED

T = TypeVar("T")
Handler = Callable[[Request], Awaitable[Response]]

_INDEX = re.compile(r"[0-9]{1,9}")
# What drawing from one seed costs, as bytes for `in_thread`.
_BYTES_A_SEED = 256
# As many seeds as fit comfortably into a header.
_MAX_SEEDS_IN_HEADER = 256


def build_app(settings: Settings, models: Models) -> Starlette:
    """The HTTP application over `models`, which may be loaded later. It leaves unknown paths to
    whatever it is mounted in; `bento.errors.JsonErrors` belongs around both."""
    api = _Api(settings, models)
    posts: dict[str, Handler] = {
        "/sample": api.sample,
        "/decode": api.decode,
        "/encode": api.encode,
        "/reconstruct": api.reconstruct,
        "/interpolate": api.interpolate,
    }
    # BentoML's own page at / reads /docs.json; its description would know nothing of these.
    gets: dict[str, Handler] = {
        "/models": api.list_models,
        "/openapi.json": api.describe,
        "/docs.json": api.describe,
    }
    routes = [Route(path, api.answering(call), methods=["POST"]) for path, call in posts.items()]
    routes += [Route(path, api.answering(call), methods=["GET"]) for path, call in gets.items()]
    return Starlette(routes=routes)


@dataclass(frozen=True, eq=False)
class _Checked(Generic[T]):
    """A request that has been checked, and in a thread where that takes long: its job."""

    made: Job[T]

    def job(self, manifest: Manifest) -> Job[T]:
        return self.made


class _Api:
    def __init__(self, settings: Settings, models: Models) -> None:
        self.settings = settings
        self.models = models

    def answering(self, handler: Handler) -> Handler:
        """`handler` within the time limit, its exceptions turned into replies."""

        async def answer(request: Request) -> Response:
            try:
                async with asyncio.timeout(self.settings.timeout_seconds):
                    return await handler(request)
            except Exception as error:
                return error_response(error)

        return answer

    async def run(self, model: Model, job: Job[T]) -> T:
        """Admission, queue, engine. Cancelling this takes the work out of the queue."""
        future = model.submit(_Checked(job), wait=False, deadline=self.settings.timeout_seconds)
        return await asyncio.wrap_future(future)

    async def sample(self, request: Request) -> Response:
        asked = await read_options(request, SampleRequest, self.settings.max_body_bytes)
        model = self.models.get(asked.model)
        n, seed = asked.n, asked.seed
        if asked.seeds is None:
            n = 1 if n is None else n
            seed = secrets.randbelow(MAX_SEED) if seed is None else seed
        labels = named_labels(model, asked.labels)
        seeds = asked.seeds or []
        field, count = ("n", n) if n is not None else ("seeds", len(seeds))
        chosen = self.chosen_format(request, asked, model, count, field)
        work = Sample(n, seed, asked.offset, asked.seeds, labels, asked.truncation)
        job = await in_thread(_BYTES_A_SEED * len(seeds), work.job, model.manifest)
        images = await self.run(model, job)
        shown = seeds or [seed]
        headers: dict[str, str] = {}
        if len(shown) <= _MAX_SEEDS_IN_HEADER:
            headers["X-Seed"] = ",".join(map(str, shown))

        def origins() -> list[dict[str, Any]]:
            made = [{"seed": one, "index": 0} for one in seeds]
            made = made or [{"seed": seed, "index": asked.offset + i} for i in range(count)]
            return with_labels(made, model, work.chosen_labels(model.manifest))

        return await self.pictures(model, images, chosen, asked.columns, origins, headers)

    async def decode(self, request: Request) -> Response:
        limit = self.settings.max_body_bytes
        if media_type(request) in (NPY, BYTES):
            asked = from_strings(PictureOptions, dict(request.query_params))
            latents = await read_npy(request, limit)
        else:
            body = await read_options(request, DecodeRequest, limit, also=(NPY, BYTES))
            asked, latents = body, body.latents
        model = self.models.get(asked.model)
        work = Decode(latents, named_labels(model, asked.labels))
        return await self.decoded(request, asked, model, work, "latents")

    async def decoded(
        self,
        request: Request,
        asked: PictureOptions,
        model: Model,
        work: Decode,
        field: str,
    ) -> Response:
        """The reply of all that decodes given latents; `field` is what says how many."""
        size = np.asarray(work.latents).nbytes
        job = await in_thread(size, work.job, model.manifest)
        count = job.count
        chosen = self.chosen_format(request, asked, model, count, field)
        images = await self.run(model, job)

        def origins() -> list[dict[str, Any]]:
            labels = job.rows(0, count).get("labels")
            return with_labels([{"index": i} for i in range(count)], model, labels)

        return await self.pictures(model, images, chosen, asked.columns, origins)

    async def encode(self, request: Request) -> Response:
        asked, upload = await read_upload(request, EncodeOptions, self.settings)
        chosen = choose_format(asked.format, request.headers.get("accept"), ARRAY_REPLIES)
        model = self.models.get(asked.model)
        images = await upload.images(model.manifest.image, self.settings.max_pixels)
        job = Encode(images, named_labels(model, asked.labels)).job(model.manifest)
        self.check_count("images", job.count)
        posterior = await self.run(model, job)
        body = await asyncio.to_thread(encode_posterior, posterior, full_name(model), chosen)
        return Response(body, 200, {"X-Model": full_name(model)}, MEDIA_TYPES[chosen])

    async def reconstruct(self, request: Request) -> Response:
        asked, upload = await read_upload(request, PictureOptions, self.settings)
        model = self.models.get(asked.model)
        images = await upload.images(model.manifest.image, self.settings.max_pixels)
        labels = named_labels(model, asked.labels)
        takes_labels = bool(model.manifest.encode) and len(model.manifest.encode[0].inputs) > 1
        job = Encode(images, labels if takes_labels else None).job(model.manifest)
        self.check_count("images", job.count)
        posterior = await self.run(model, job)
        work = Decode(posterior.mean, labels)
        return await self.decoded(request, asked, model, work, "images")

    async def interpolate(self, request: Request) -> Response:
        asked = await read_options(request, InterpolateRequest, self.settings.max_body_bytes)
        model = self.models.get(asked.model)
        self.check_count("steps", asked.steps)
        latents = [x for x in (asked.a, asked.b) if x is not None]
        if len(latents) != (2 if asked.seeds is None else 0):
            found = (
                f"seeds and {len(latents)} latents" if asked.seeds else f"{len(latents)} latents"
            )
            raise InputError("seeds", "two seeds, or two latents a and b", found)
        if asked.seeds is not None:
            a, b = model.latents(seeds=asked.seeds, truncation=asked.truncation)
        elif asked.truncation is not None:
            raise InputError("truncation", "none: a and b are given", str(asked.truncation))
        else:
            a, b = latents
        labels = named_labels(model, asked.labels)
        work = model.path(a, b, asked.steps, asked.kind, labels=labels)
        return await self.decoded(request, asked, model, work, "steps")

    async def list_models(self, request: Request) -> Response:
        return JSONResponse(
            {
                "models": [describe(model) for model in self.models],
                "failed": [{"name": f.name, "error": f.error} for f in self.models.failed],
            }
        )

    async def describe(self, request: Request) -> Response:
        return JSONResponse(openapi_document(self.settings, self.models))

    def check_count(self, field: str, count: int) -> None:
        limit = self.settings.max_images
        if count > limit:
            raise InputError(field, f"at most {limit} images a request", str(count))

    def chosen_format(
        self, request: Request, asked: PictureOptions, model: Model, count: int, field: str
    ) -> str:
        """The reply's format, once it is clear that this many images may be asked for in it."""
        self.check_count(field, count)
        chosen = choose_format(asked.format, request.headers.get("accept"), PICTURE_REPLIES)
        image = model.manifest.image
        size = (image.height, image.width)
        check_sheet(chosen, asked.columns, count, size, self.settings.max_sheet_pixels)
        return chosen

    async def pictures(
        self,
        model: Model,
        images: UInt8Array,
        chosen: str,
        columns: int | None,
        origins: Callable[[], Sequence[Mapping[str, Any]]],
        headers: Mapping[str, str] | None = None,
    ) -> Response:
        def body() -> bytes:
            told = origins() if needs_origins(chosen) else None
            return encode_pictures(Pictures(full_name(model), images, told), chosen, columns)

        content = await asyncio.to_thread(body)
        sent = {"X-Model": full_name(model), **(headers or {})}
        return Response(content, 200, sent, MEDIA_TYPES[chosen])


def named_labels(model: Model, labels: Any) -> Any:
    """Labels as `runtime` takes them: digits that are no class's name count as its index, for a
    query string has no numbers."""
    names = model.manifest.labels or ()

    def one(label: str | int) -> str | int:
        is_index = isinstance(label, str) and label not in names and _INDEX.fullmatch(label)
        return int(label) if is_index else label

    if labels is None or isinstance(labels, str | int):
        return None if labels is None else one(labels)
    return [one(label) for label in labels]


def with_labels(origins: list[dict[str, Any]], model: Model, labels: Any) -> list[dict[str, Any]]:
    """Each origin with the name of its class, where the model has classes."""
    names = model.manifest.labels
    if labels is None or names is None:
        return origins
    return [{**o, "label": names[i]} for o, i in zip(origins, labels.tolist(), strict=True)]
