"""The endpoints that OpenAI's clients ask."""

import base64
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from bento.endpoints import Endpoint, Json
from bento.endpoints.translate import prepare, translated
from bento.exchange.bodies import JSON
from bento.exchange.exchange import Exchange
from bento.exchange.replies import JSON_REPLY, PICTURE_REPLIES, to_json
from bento.exchange.schemas import NetworkOptions
from bento.exchange.uploads import MULTIPART, Upload
from bento.protocols import Lookup, Protocol
from bento.protocols.openai_images.messages import (
    ANY,
    ERRORS,
    ImageEdit,
    ImageGeneration,
    ImageOptions,
)
from bento.repository.models import Models
from runtime import InputError, Manifest, Model, Sample
from runtime.checks import short
from runtime.images import UInt8Array
from runtime.images.encoding import encode_image
from runtime.images.layout import Layout
from runtime.images.volumes import as_picture, shown_bytes
from runtime.requests import answers
from runtime.requests.checks import Label, check_labels
from runtime.requests.pictures import image_shape
from runtime.sampling.streams import MAX_SEED

_PICTURES = ("image", "image[]")


async def generate(x: Exchange) -> Response:
    options = await x.options(ImageGeneration)
    model = x.model(options.model)
    seed = secrets.randbelow(MAX_SEED) if options.seed is None else options.seed
    label, prompt = _asked(model.manifest, options.prompt)
    request = Sample(
        options.n or 1,
        seed,
        labels=label,
        prompt=prompt,
        truncation=options.truncation,
        size=options.height_width,
    )
    job = request.job(model)
    x.call.seed, x.call.images = seed, job.count
    x.check_count("n", job.count)
    _hold(x, "n", options, [image_shape(model.manifest, job)] * job.count)
    told = _told(request, model.manifest)
    images = await x.run(model, job)
    return await _reply(x, model, options, list(images), told, {"X-Seed": str(seed)})


async def edit(x: Exchange) -> Response:
    options, upload = await x.upload(ImageEdit, _PICTURES)
    model = x.model(options.model)
    label = _label(model.manifest, options.prompt)
    ours = NetworkOptions(
        labels=label,
        size=options.height_width,
        seed=options.seed,
        truncation=options.truncation,
    )
    prepared = await prepare(ours, model, _masked(upload, model.manifest))
    shapes = [image_shape(model.manifest, job) for _, job in prepared for _ in range(job.count)]
    x.check_count("files", len(shapes))
    _hold(x, "files", options, shapes)
    images = await translated(x, model, prepared)
    return await _reply(x, model, options, images, None, {})


def _asked(manifest: Manifest, prompt: str) -> tuple[Label | None, str | None]:
    """The class that a prompt names, or the prompt itself for a model that reads prompts; None
    where any will do."""
    if manifest.vocabulary is None:
        return _label(manifest, prompt), None
    return None, None if prompt.strip().casefold() in ("", ANY) else prompt


def _told(request: Sample, manifest: Manifest) -> list[str] | None:
    """The class or the prompt of each image, where there are any."""
    labels, names = request.chosen_labels(manifest), list(manifest.labels or ())
    if labels is None:
        return request.chosen_prompts(manifest)
    indices: list[int] = labels.tolist()
    return [names[index] for index in indices]


def _label(manifest: Manifest, prompt: str) -> Label | None:
    """The class that a prompt names, in any case; None where any will do."""
    names, said = list(manifest.labels or ()), prompt.strip()
    if said in names:
        return said
    alike = [name for name in names if name.casefold() == said.casefold()]
    if len(alike) == 1:
        return alike[0]
    if said.casefold() in ("", ANY):
        return None
    if not names:
        expected = f"{ANY!r} or nothing: {manifest.name} has no classes"
        raise InputError("prompt", expected, short(prompt))
    try:
        check_labels(manifest, said, 1)
    except InputError as error:
        raise InputError("prompt", f"{error.expected}, or {ANY!r}", short(prompt)) from None
    return said


def _masked(upload: Upload, manifest: Manifest) -> Upload:
    """The upload with their kind of mask: without a file of it, one picture tells by its own
    transparency."""
    takes_mask = manifest.graphs["translate"].input("mask") is not None
    mask = upload.mask
    if mask is None and takes_mask and len(upload.files) == 1:
        ((_, mask),) = upload.files
    return replace(upload, mask=mask, mask_by_alpha=True)


def _hold(
    x: Exchange, field: str, options: ImageOptions, shapes: Sequence[tuple[int, ...]]
) -> None:
    """Refuse images that do not fit into a reply, and hold the memory for the others."""
    kind = PICTURE_REPLIES[options.output_format or "png"]
    x.hold_reply(field, sum(kind.check(Layout(), 1, shape) for shape in shapes))


async def _reply(
    x: Exchange,
    model: Model,
    options: ImageOptions,
    images: Sequence[UInt8Array],
    prompts: Sequence[str] | None,
    headers: Mapping[str, str],
) -> Response:
    """The images in base64, each with the class or the prompt that it is of, if it is of one."""
    kind = options.output_format or "png"
    classes: list[Json] = [{"revised_prompt": p} for p in prompts or ()] or [{} for _ in images]

    def body() -> bytes:
        pictures = list(map(as_picture, images))
        sizes = {f"{picture.shape[1]}x{picture.shape[0]}" for picture in pictures}
        encoded = (base64.b64encode(encode_image(p, kind)).decode("ascii") for p in pictures)
        data = [{"b64_json": b, **of} for b, of in zip(encoded, classes, strict=True)]
        told: Json = {"created": int(time.time()), "data": data, "output_format": kind}
        return to_json({**told, "size": next(iter(sizes))} if len(sizes) == 1 else told)

    sent = {"X-Model": model.manifest.full_name, **headers}
    size = sum(shown_bytes(image.shape) for image in images)
    return await x.reply(size, JSON_REPLY["json"], body, sent)


def _entry(model: Model) -> Json:
    # An artifact says nothing of when it was made.
    return {"id": model.manifest.name, "object": "model", "created": 0, "owned_by": "latentserve"}


async def _all(request: Request, models: Models) -> Response:
    made = [m for m in models if any(answers(m.manifest, r) for r in ("sample", "translate"))]
    return JSONResponse({"object": "list", "data": [_entry(model) for model in made]})


async def _one(request: Request, models: Models) -> Response:
    return JSONResponse(_entry(models.get(request.scope["path"].split("/")[3])))


_HEADERS = {"X-Seed": "The seed, also where the server drew it."}


def _examples(model: Model) -> dict[str, Json]:
    name, labels = model.manifest.name, model.manifest.labels
    words = model.manifest.vocabulary
    prompt = words.examples[0] if words is not None else ANY if labels is None else labels[0]
    return {name: {"model": name, "prompt": prompt, "n": 2, "seed": 7}}


def _no_examples(model: Model) -> dict[str, Json]:
    return {}


PROTOCOLS: Mapping[str, Protocol] = {
    "/v1/images/generations": Protocol(
        "sample",
        Endpoint(
            generate,
            reads=(JSON,),
            options=ImageGeneration,
            replies=JSON_REPLY,
            summary="Sample images for OpenAI's clients",
            description="The prompt is a class by name or index, or `any`; for models that read "
            "prompts, a text of their words.",
            examples=_examples,
            headers=_HEADERS,
        ),
        ERRORS,
    ),
    "/v1/images/edits": Protocol(
        "translate",
        Endpoint(
            edit,
            reads=(MULTIPART,),
            options=ImageEdit,
            replies=JSON_REPLY,
            summary="Translate pictures for OpenAI's clients",
            description="An image of each picture. The mask is transparent where the network acts; "
            "without it the picture's own transparency says where.",
            examples=_no_examples,
            pictures="image",
            files=("mask",),
        ),
        ERRORS,
    ),
}
LOOKUPS: Mapping[str, Lookup] = {
    "/v1/models": Lookup(_all, "The models that make images, for OpenAI's clients", ERRORS),
    "/v1/models/{model}": Lookup(_one, "One model, for OpenAI's clients", ERRORS),
}
