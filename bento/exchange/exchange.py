"""One request to an endpoint, from its body to its reply: the steps that the endpoints share."""

import asyncio
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response

from bento.exchange.accept import FormatT, choose_format
from bento.exchange.bodies import Body, in_thread, query_options, read_options
from bento.exchange.caching import cache_control, entity_tag, is_known
from bento.exchange.opening import Opening
from bento.exchange.replies import PICTURE_REPLIES, PictureReply, Pictures, Reply
from bento.exchange.schemas import Options, PictureOptions, PromptOptions, from_strings
from bento.exchange.streaming import ArrayStream, Lifetime, Streams
from bento.exchange.turns import Turns
from bento.exchange.uploads import Upload, read_upload
from bento.repository.models import Models
from bento.settings import LONGEST_SECONDS, Settings
from bento.traffic.budget import Shares
from bento.traffic.calls import Call, call_of
from runtime import InputError, Model
from runtime.batching.jobs import Job
from runtime.images import UInt8Array
from runtime.images.volumes import shown_bytes
from runtime.machine import installed_version
from runtime.requests.checks import check_labels
from runtime.requests.pictures import image_shape
from runtime.requests.prompts import check_prompts, texts_of

_PATIENCE = 4.0
"""Times what a job's own runs take: others are before it, or beside it."""

T = TypeVar("T")
OptionsT = TypeVar("OptionsT", bound=BaseModel)
Origins = Callable[[], Sequence[Mapping[str, Any]]]


@dataclass(eq=False)
class Exchange:
    """A request to endpoint `name`, and what answers it."""

    name: str
    request: Request
    body: Body
    settings: Settings
    models: Models
    streams: Streams
    opening: Opening
    shares: Shares
    turns: Turns
    life: Lifetime

    @property
    def call(self) -> Call:
        return call_of(self.request.scope)

    async def options(self, schema: type[OptionsT]) -> OptionsT:
        """The options of a JSON body, or of the query string where the body is empty."""
        return await read_options(self.request, self.body, schema, self.settings.max_images)

    def query(self, schema: type[OptionsT], repeated: Collection[str] = ()) -> OptionsT:
        """The options of the query string, where the body is something else; those that may stand
        several times are lists."""
        options = query_options(self.request, repeated)
        return from_strings(schema, options, self.settings.max_images)

    async def upload(
        self, schema: type[OptionsT], named: Collection[str] = ()
    ) -> tuple[OptionsT, Upload]:
        """The pictures of the body and their options; in a form its files are `named` so."""
        return await read_upload(
            self.request, self.body, schema, self.settings, self.opening, named
        )

    def model(self, name: str | None) -> Model:
        """The model that the request names, which must answer it."""
        model = self.models.get(name, self.name)
        self.call.model = model.manifest.name
        return model

    def check_count(self, field: str, count: int, *, streamed: bool = False) -> None:
        """Refuse more images than one reply may have. The options alone do not say how many a
        body holds, nor in which format they leave."""
        limit = self.settings.max_streamed_images if streamed else self.settings.max_images
        if count > limit:
            raise InputError(field, f"at most {limit} images a request", str(count))

    def hold_reply(self, field: str, size: int) -> None:
        """Refuse a reply of more bytes than the settings allow, before it is made; and hold the
        memory for it: what it is made of, and the body."""
        limit = self.settings.max_reply_bytes
        if size > limit:
            expected = f"at most {limit} bytes in a reply, uncompressed: ask for fewer images"
            raise InputError(field, expected, str(size))
        self.call.holding.take(2 * size)

    def format(self, explicit: str | None, offered: Mapping[str, FormatT]) -> FormatT:
        """The reply's format, by the option or by the Accept header."""
        return choose_format(explicit, self.request.headers.get("accept"), offered)

    async def picture_reply(
        self, options: PictureOptions, model: Model, job: Job[UInt8Array], field: str
    ) -> PictureReply:
        """The format for a job's images, once it is clear that they fit into a reply.

        `field` is the entry of the request that says how many there are.
        """
        await self.turns.measure(model, job)
        reply = self.format(options.format, PICTURE_REPLIES)
        streamed = is_streamed(reply, model, job)
        self.check_count(field, job.count, streamed=streamed)
        size = reply.check(options.layout, job.count, image_shape(model.manifest, job))
        if not streamed:
            self.hold_reply(field, size)
        return reply

    def extend(self, model: Model, job: Job[Any]) -> None:
        """Give the request the time that a job takes."""
        self.life.extend(self._seconds(model, job))

    async def run(self, model: Model, job: Job[T]) -> T:
        """Admission, queue, engine. Cancelling this takes the work out of the queue."""
        await self.turns.measure(model, job)
        places = min(job.count, model.window(job))
        self.extend(model, job)
        with self.shares.taken(model.manifest.name, self.call.client, places):
            return await self.turns.run(model, self._traced(job))

    async def run_in_parts(self, model: Model, job: Job[T]) -> list[T]:
        """As `run`, for what a job gives part by part: no more is held at a time than an engine
        run makes."""
        await self.turns.measure(model, job)
        self.extend(model, job)
        places = min(job.count, model.window(job))
        with (
            self.shares.taken(model.manifest.name, self.call.client, places),
            closing(model.parts(self._traced(job), wait=False)) as parts,
        ):
            return [await asyncio.wrap_future(part) for part in parts]

    async def pictures(
        self,
        model: Model,
        job: Job[UInt8Array],
        reply: PictureReply,
        options: PictureOptions,
        origins: Origins | None = None,
        headers: Mapping[str, str] | None = None,
        repeatable: bool = True,
    ) -> Response:
        """The reply with a job's images. `origins()` says what made each of them; without it they
        are numbered, and have the labels or the prompts of the options. `repeatable`: the same
        request gives them again."""
        sent = {"X-Model": model.manifest.full_name, **(headers or {})}
        bodiless = self.without_body(sent, options, model, reply, repeatable=repeatable)
        if bodiless is not None:
            return bodiless
        self.call.images = job.count
        if is_streamed(reply, model, job):
            return await self._streamed(model, job, sent)
        images = await self.run(model, job)

        def numbered() -> Sequence[Mapping[str, Any]]:
            manifest = model.manifest
            labels = check_labels(manifest, options.labels, job.count)
            asked = options.prompt if isinstance(options, PromptOptions) else None
            prompts = texts_of(manifest.vocabulary, check_prompts(manifest, asked, job.count))
            made = with_prompts([{"index": i} for i in range(job.count)], prompts)
            return with_labels(made, model, labels)

        def body() -> bytes:
            made = (origins or numbered)() if reply.shows == "images" else ()
            return reply.encode(Pictures(model.manifest.full_name, images, made), options.layout)

        size = options.scale**2 * len(images) * shown_bytes(images.shape[1:])
        return await self.reply(size, reply, body, sent)

    def without_body(
        self,
        headers: dict[str, str],
        options: Options,
        model: Model,
        reply: Reply,
        *,
        repeatable: bool = True,
    ) -> Response | None:
        """The reply for which nothing is run: the headers alone for HEAD, and 304 for a GET whose
        client has the reply already; None where a body is made. To the `headers` it adds what may
        be kept of the reply; the options and the model determine it where it is `repeatable`."""
        if self.request.method == "POST":
            return None
        if self._is_kept(headers, options, model, reply, repeatable=repeatable):
            return Response(None, 304, headers)
        if self.request.method != "HEAD":
            return None
        response = Response(None, 200, headers, reply.media_type)
        del response.headers["Content-Length"]  # known only of a body that is made
        return response

    def _is_kept(
        self,
        headers: dict[str, str],
        options: Options,
        model: Model,
        reply: Reply,
        *,
        repeatable: bool,
    ) -> bool:
        """Whether the client has the reply; says in the headers what may be kept of it."""
        if getattr(options, "format", None) is None:  # not every endpoint has several
            headers["Vary"] = "Accept"
        if not repeatable:
            headers["Cache-Control"] = "no-store"
            return False
        effective = options.model_dump(mode="json", exclude={"model", "format"}, exclude_none=True)
        # Engines may differ by a grey level.
        made_by = (
            model.manifest.full_name,
            model.digest,
            model.engine,
            installed_version("latentserve"),
        )
        headers["ETag"] = tag = entity_tag(self.name, reply.name, effective, *made_by)
        headers["Cache-Control"] = cache_control(
            pinned=options.model == model.manifest.full_name,
            private=self.settings.api_key is not None,
        )
        return is_known(tag, self.request.headers.get("if-none-match"))

    async def reply(
        self,
        size: int,
        kind: Reply,
        body: Callable[[], bytes],
        headers: Mapping[str, str],
    ) -> Response:
        """200 with `body()`, which is made of `size` bytes."""

        def timed() -> bytes:
            with self.call.encoding(kind.name):
                return body()

        return Response(await in_thread(size, timed), 200, headers, kind.media_type)

    async def _streamed(
        self, model: Model, job: Job[UInt8Array], headers: Mapping[str, str]
    ) -> Response:
        """The reply of more images than one run gives, begun when its first part is there: until
        then a failure has a status of its own."""
        shape = image_shape(model.manifest, job)
        seconds = self._seconds(model, job.part(0, model.run_rows(job)))
        self.life.extend(seconds)
        self.call.holding.take(min(job.count, model.window(job)) * math.prod(shape))
        place = self.streams.place(model, job, self.call.client)
        parts = model.parts(self._traced(job), wait=False)
        try:
            first = await asyncio.wrap_future(next(parts))
        except BaseException:
            parts.close()
            raise
        return ArrayStream(first, parts, (job.count, *shape), seconds, headers, place)

    def _seconds(self, model: Model, job: Job[Any]) -> float:
        """The time limit of a job: that of the settings, or more where they leave it open and its
        images take long."""
        limit = self.settings.timeout_seconds
        if "timeout_seconds" in self.settings.model_fields_set:
            return limit
        return min(LONGEST_SECONDS, max(limit, _PATIENCE * model.seconds(job)))

    def _traced(self, job: Job[T]) -> Job[T]:
        """The job, its stages reported to the request's trace where there is one."""
        trace = self.call.trace
        return job if trace is None else replace(job, timed=trace.stage)


def is_streamed(reply: PictureReply, model: Model, job: Job[UInt8Array]) -> bool:
    """Whether images leave as they are made: more of them than one run of the engine gives."""
    return reply.shows == "array" and job.count > model.run_rows(job)


def with_labels(origins: list[dict[str, Any]], model: Model, labels: Any) -> list[dict[str, Any]]:
    """Each origin with the name of its class, where the model has classes."""
    names = model.manifest.labels
    if labels is None or names is None:
        return origins
    return [{**o, "label": names[i]} for o, i in zip(origins, labels.tolist(), strict=True)]


def with_prompts(
    origins: list[dict[str, Any]], prompts: Sequence[str] | None
) -> list[dict[str, Any]]:
    """Each origin with the words of its prompt, where the model reads prompts."""
    if prompts is None:
        return origins
    return [{**o, "prompt": prompt} for o, prompt in zip(origins, prompts, strict=True)]
