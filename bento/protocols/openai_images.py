"""What OpenAI's clients send for images (`images.generate`, `images.edit`, `models`).

A prompt is the name of a class here, or its index; empty, or "any", where it does not matter. What
their API has beside that is accepted and ignored where it would not change what is promised
(`quality`, `user`), and refused where it would (`stream`, `response_format="url"`).

Their masks are transparent where the picture is to be changed; ours are white there.
"""

import base64
import re
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationInfo
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from bento.bodies import JSON
from bento.endpoint import Endpoint, Json
from bento.endpoints.translate import prepare, translated
from bento.errors import ErrorBody, ErrorShape
from bento.exchange import Exchange
from bento.models import Models, full_name
from bento.protocols import Lookup, Protocol
from bento.replies import JSON_REPLY, PICTURE_REPLIES, to_json
from bento.schemas import NetworkOptions, Seed, Truncation
from bento.uploads import MULTIPART, Upload
from runtime import InputError, Manifest, Model, Sample
from runtime.images import UInt8Array
from runtime.images.encoding import encode_image
from runtime.images.layout import Layout
from runtime.requests import answers
from runtime.requests.checks import MAX_COUNT, Label, check_labels, short
from runtime.requests.pictures import image_shape
from runtime.sampling.streams import MAX_SEED

_ANY = "any"
_SIZE = re.compile(r"([0-9]{1,5})x([0-9]{1,5})")
_PICTURES = ("image", "image[]")


def _refusing(refused: object, expected: str) -> AfterValidator:
    """A value that their API has, and that is not to be had here."""

    def check(value: object, info: ValidationInfo) -> object:
        if value == refused:
            raise InputError(info.field_name or "body", expected, short(value))
        return value

    return AfterValidator(check)


def _check_size(size: str | None) -> str | None:
    if size not in (None, "auto") and not _SIZE.fullmatch(size):
        raise InputError("size", "WIDTHxHEIGHT in pixels, such as 64x48, or auto", short(size))
    return size


class _Images(BaseModel):
    """What both of their requests have."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    model: str | None = Field(
        default=None,
        max_length=200,
        description="Name, or name@version; without it the first by name.",
    )
    size: Annotated[str | None, AfterValidator(_check_size)] = Field(
        default=None, description="WIDTHxHEIGHT; `auto`, or none: the model's own, or a picture's."
    )
    response_format: Annotated[
        Literal["b64_json", "url"] | None,
        _refusing("url", "b64_json: no picture is kept here for a URL to lead to"),
    ] = None
    output_format: Literal["png", "jpeg", "webp"] | None = Field(
        default=None, description="`png` without it; `webp` is lossless."
    )
    stream: Annotated[bool | None, _refusing(True, "false: images are sent together")] = None
    background: Annotated[
        Literal["auto", "opaque", "transparent"] | None,
        _refusing("transparent", "auto: a model's images have its own channels"),
    ] = None
    seed: Seed | None = Field(
        default=None, description="Ours: the same seed gives the same images."
    )
    truncation: Truncation | None = Field(default=None, description="Ours: see `/sample`.")
    quality: Any = Field(default=None, description="Ignored.")
    user: Any = Field(default=None, description="Ignored.")
    safety_identifier: Any = Field(default=None, description="Ignored.")
    complexity: Any = Field(default=None, description="Ignored.")
    output_compression: Any = Field(default=None, description="Ignored.")
    partial_images: Any = Field(default=None, description="Ignored: nothing is streamed.")

    @property
    def height_width(self) -> list[int] | None:
        """[height, width] where a size was asked for."""
        found = _SIZE.fullmatch(self.size or "")
        return None if found is None else [int(found[2]), int(found[1])]


_Prompt = Annotated[
    str,
    Field(
        max_length=32_000,
        description="A class by name or index; empty, or `any`, where it does not matter.",
    ),
]


class ImageGeneration(_Images):
    """Images of a seed."""

    prompt: _Prompt
    n: int | None = Field(default=None, ge=1, le=MAX_COUNT, description="How many; 1 without it.")
    style: Any = Field(default=None, description="Ignored.")
    moderation: Any = Field(default=None, description="Ignored.")


class ImageEdit(_Images):
    """What a network makes of pictures: an image of each."""

    prompt: _Prompt = ""  # their client leaves an empty one out of a form
    n: Annotated[
        int | None, Field(ge=1, le=1, description="1: an image of each picture that is sent.")
    ] = None
    input_fidelity: Any = Field(default=None, description="Ignored.")


async def generate(x: Exchange) -> Response:
    options = await x.options(ImageGeneration)
    model = x.model(options.model)
    seed = secrets.randbelow(MAX_SEED) if options.seed is None else options.seed
    request = Sample(
        options.n or 1,
        seed,
        labels=_label(model.manifest, options.prompt),
        truncation=options.truncation,
        size=options.height_width,
    )
    job = request.job(model)
    x.call.seed, x.call.images = seed, job.count
    x.check_count("n", job.count)
    _hold(x, "n", options, [image_shape(model.manifest, job)] * job.count)
    labels, names = request.chosen_labels(model.manifest), list(model.manifest.labels or ())
    prompts: list[str] = [] if labels is None else [names[i] for i in labels.tolist()]
    images = await x.run(model, job)
    return await _reply(x, model, options, list(images), prompts, {"X-Seed": str(seed)})


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
    return await _reply(x, model, options, images, (), {})


def _label(manifest: Manifest, prompt: str) -> Label | None:
    """The class that a prompt names, in any case; None where any will do."""
    names, said = list(manifest.labels or ()), prompt.strip()
    if said in names:
        return said
    alike = [name for name in names if name.casefold() == said.casefold()]
    if len(alike) == 1:
        return alike[0]
    if said.casefold() in ("", _ANY):
        return None
    if not names:
        expected = f"{_ANY!r} or nothing: {manifest.name} has no classes"
        raise InputError("prompt", expected, short(prompt))
    try:
        check_labels(manifest, said, 1)
    except InputError as error:
        raise InputError("prompt", f"{error.expected}, or {_ANY!r}", short(prompt)) from None
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
    x: Exchange, field: str, options: _Images, shapes: Sequence[tuple[int, int, int]]
) -> None:
    """Refuse images that do not fit into a reply, and hold the memory for the others."""
    kind = PICTURE_REPLIES[options.output_format or "png"]
    x.hold_reply(field, sum(kind.check(Layout(), 1, shape) for shape in shapes))


async def _reply(
    x: Exchange,
    model: Model,
    options: _Images,
    images: Sequence[UInt8Array],
    prompts: Sequence[str],
    headers: Mapping[str, str],
) -> Response:
    """The images in base64, each with the class that it is of."""
    kind = options.output_format or "png"
    sizes = {f"{image.shape[1]}x{image.shape[0]}" for image in images}

    def body() -> bytes:
        data: list[Json] = [
            {"b64_json": base64.b64encode(encode_image(image, kind)).decode("ascii")}
            for image in images
        ]
        for entry, prompt in zip(data, prompts, strict=False):
            entry["revised_prompt"] = prompt
        told: Json = {"created": int(time.time()), "data": data, "output_format": kind}
        return to_json(told | ({"size": sizes.pop()} if len(sizes) == 1 else {}))

    sent = {"X-Model": full_name(model), **headers}
    return await x.reply(sum(image.nbytes for image in images), JSON_REPLY["json"], body, sent)


def _entry(model: Model) -> Json:
    # An artifact says nothing of when it was made.
    return {"id": model.manifest.name, "object": "model", "created": 0, "owned_by": "latentserve"}


async def _all(request: Request, models: Models) -> Response:
    made = [m for m in models if any(answers(m.manifest, r) for r in ("sample", "translate"))]
    return JSONResponse({"object": "list", "data": [_entry(model) for model in made]})


async def _one(request: Request, models: Models) -> Response:
    return JSONResponse(_entry(models.get(request.scope["path"].split("/")[3])))


class OpenAIErrorDetails(BaseModel):
    """What went wrong."""

    message: str
    type: str
    param: str | None
    code: str | None


class OpenAIError(BaseModel):
    """The body of every error of these paths."""

    error: OpenAIErrorDetails


_THEIR_NAMES = {"labels": "prompt", "files": "image"}
_CODES = {401: "invalid_api_key", 404: "model_not_found", 429: "rate_limit_exceeded"}


def _as_theirs(status: int, ours: ErrorBody) -> tuple[int, Json]:
    """An unacceptable value is 400 to them, and a model that is not there 404."""
    text, field, expected, found = (ours[k] for k in ("error", "field", "expected", "found"))
    root, bracket, place = (field or "").partition("[")
    param = None if field is None else f"{_THEIR_NAMES.get(root, root)}{bracket}{place}"
    if expected is not None:
        about = param if text == f"{field}: expected {expected}, found {found}" else text
        text = f"{about}: expected {expected}, found {found}"
    if status == 422:
        status = 404 if field == "model" else 400
    kind = "server_error" if status >= 500 else "invalid_request_error"
    kind = "rate_limit_error" if status == 429 else kind
    details = {"message": text, "type": kind, "param": param, "code": _CODES.get(status)}
    return status, {"error": details}


_ERRORS = ErrorShape(_as_theirs, OpenAIError)
_HEADERS = {"X-Seed": "The seed, also where the server drew it."}


def _examples(model: Model) -> dict[str, Json]:
    name, labels = model.manifest.name, model.manifest.labels
    prompt = _ANY if labels is None else labels[0]
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
            description="The prompt is a class by name or index, or `any`.",
            examples=_examples,
            headers=_HEADERS,
        ),
        _ERRORS,
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
        _ERRORS,
    ),
}
LOOKUPS: Mapping[str, Lookup] = {
    "/v1/models": Lookup(_all, "The models that make images, for OpenAI's clients", _ERRORS),
    "/v1/models/{model}": Lookup(_one, "One model, for OpenAI's clients", _ERRORS),
}
