"""The OpenAPI description, from the same pydantic models that check the requests.

Its examples name the models that are loaded, so that each of them works as it stands.
"""

from typing import Any

from pydantic import BaseModel

from bento.models import Models
from bento.replies import ARRAY_REPLIES, PICTURE_REPLIES
from bento.schemas import (
    DecodeOptions,
    DecodeRequest,
    EncodeOptions,
    InterpolateRequest,
    ManifoldRequest,
    SampleRequest,
    SizedOptions,
)
from bento.settings import Settings
from runtime import Model
from runtime.images.encoding import MEDIA_TYPES
from runtime.requests.encode import takes_noise
from runtime.requests.request import answers

Json = dict[str, Any]

API_VERSION = "1"
"""Counts changes that break clients; the package has a version of its own."""

_REF = "#/components/schemas/{model}"
# Larger latents would make the document unreadable.
_MAX_EXAMPLE_VALUES = 512

_ERRORS = {
    400: "The body cannot be parsed.",
    401: "The service has an API key, and the request does not carry it.",
    406: "No format of this endpoint is accepted.",
    413: "The body is too large.",
    415: "The body's media type is not read here.",
    422: "A value is not acceptable; `field` names it.",
    429: "The queue is full, or too many requests are under way: try again after "
    "`Retry-After` seconds.",
    500: "The engine failed; the server's log says how.",
    503: "No model is loaded, or an engine fails.",
    504: "Not finished in the allowed time.",
}


class Error(BaseModel):
    """The body of every error."""

    error: str
    field: str | None
    expected: str | None
    found: str | None


def openapi_document(settings: Settings, models: Models) -> Json:
    """An OpenAPI 3.1 document of every endpoint."""
    key: Json = {"type": "http", "scheme": "bearer"}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "latentserve",
            "version": API_VERSION,
            "description": "Images from VAE decoders and GAN generators. Image i of a seed is a "
            "function of model, seed, i, label and truncation alone.",
        },
        "servers": [{"url": "."}],
        "paths": _paths(settings, models),
        "components": {"schemas": _schemas(), "securitySchemes": {"key": key}},
        "security": [] if settings.api_key is None else [{"key": []}],
    }


def _schemas() -> Json:
    schemas: Json = {}
    for model in (SampleRequest, DecodeRequest, InterpolateRequest, ManifoldRequest, Error):
        schema = model.model_json_schema(ref_template=_REF)
        schemas |= schema.pop("$defs", {})
        schemas[model.__name__] = schema
    return schemas


def _paths(settings: Settings, models: Models) -> Json:
    limits = (
        f"At most {settings.max_images} images, {settings.max_body_bytes} bytes of body "
        f"({settings.max_json_bytes} of JSON) and {settings.max_reply_bytes} bytes of reply "
        "before compression."
    )
    pictures = (
        "Picture files of any size are cropped and resized as in training; an `.npy` file is "
        f"uint8 [n, H, W, C] of the exact size. At most {settings.max_files} files of "
        f"{settings.max_pixels} pixels each, {settings.max_upload_pixels} together."
    )
    return {
        "/sample": _post(
            "Sample images",
            "Images of a seed, drawn anew or asked for again by `X-Seed`. Options may also stand "
            f"in the query string, without a body. {limits}",
            {"application/json": _json_body(SampleRequest, _sample_examples(models))},
            PICTURE_REPLIES,
            parameters=_query(SampleRequest),
            headers={"X-Seed": _header("The seed, also where the server drew it; or the seeds.")},
            body_required=False,
        ),
        "/decode": _post(
            "Decode latents",
            "JSON, or a float32 `.npy` file of shape [n, *latent] with its options in the query "
            f"string. {limits}",
            {
                "application/json": _json_body(DecodeRequest, _decode_examples(models)),
                **_binary(MEDIA_TYPES["npy"], "application/octet-stream"),
            },
            PICTURE_REPLIES,
            parameters=_query(DecodeOptions),
        ),
        "/encode": _post(
            "Encode pictures",
            "The posterior's mean and log variance; with a `seed` one latent drawn from each "
            "posterior, the same for the same seed, picture and number, and its log density. "
            f"{pictures} {limits}",
            _uploads(EncodeOptions, _upload_examples(models, "npz", "encode")),
            ARRAY_REPLIES,
            parameters=_query(EncodeOptions),
        ),
        "/reconstruct": _post(
            "Encode and decode pictures",
            "The images of the posterior's mean, or of noise 0 where the encoder takes noise. "
            f"{pictures} {limits}",
            _uploads(SizedOptions, _upload_examples(models, "png", "reconstruct")),
            PICTURE_REPLIES,
            parameters=_query(SizedOptions),
        ),
        "/interpolate": _post(
            "Images on the way from one latent to another",
            "Between image 0 of two seeds, or between two latents. Options but the latents may "
            f"also stand in the query string, without a body. {limits}",
            {"application/json": _json_body(InterpolateRequest, _interpolate_examples(models))},
            PICTURE_REPLIES,
            parameters=_query(InterpolateRequest, without=("a", "b")),
            body_required=False,
        ),
        "/manifold": _post(
            "A grid over a 2-D latent space",
            "Equal steps in the prior's probability along both axes. Options may also stand in the "
            f"query string, without a body. {limits}",
            {"application/json": _json_body(ManifoldRequest, _manifold_examples(models))},
            PICTURE_REPLIES,
            parameters=_query(ManifoldRequest),
            body_required=False,
        ),
        "/translate": _post(
            "Translate pictures",
            "The images that a network makes of pictures; a file field `mask` is white where the "
            f"network is to act, for networks that take one. {pictures} {limits}",
            _uploads(DecodeOptions, _upload_examples(models, "png", "translate")),
            PICTURE_REPLIES,
            parameters=_query(DecodeOptions),
        ),
        "/models": _get("Models served, and artifacts that failed to load", "application/json"),
        "/readyz": _get(
            "200 once the models are loaded, verified and warm; 503 without any, and while an "
            "engine fails",
            "text/plain",
            errors=(503,),
        ),
        "/livez": _get("200 while the process answers", "text/plain"),
        "/metrics": _get("Prometheus metrics", "text/plain"),
    }


def _post(
    summary: str,
    description: str,
    content: Json,
    formats: tuple[str, ...],
    *,
    parameters: list[Json] | None = None,
    headers: Json | None = None,
    body_required: bool = True,
) -> Json:
    schemas = {name: {"type": "object"} if name == "json" else _BINARY for name in formats}
    ok = {
        "description": "In the format asked for.",
        "headers": {"X-Model": _header("name@version"), **(headers or {})},
        "content": {MEDIA_TYPES[name]: {"schema": schema} for name, schema in schemas.items()},
    }
    operation = {
        "summary": summary,
        "description": description,
        "parameters": parameters or [],
        "requestBody": {"required": body_required, "content": content},
        "responses": {"200": ok, **{str(s): _error(text) for s, text in _ERRORS.items()}},
    }
    return {"post": operation}


def _get(summary: str, media_type: str, *, errors: tuple[int, ...] = ()) -> Json:
    schema = {"type": "object" if media_type == "application/json" else "string"}
    ok = {"description": summary, "content": {media_type: {"schema": schema}}}
    failed = {str(status): _error(_ERRORS[status]) for status in errors}
    return {"get": {"summary": summary, "responses": {"200": ok, **failed}}}


def _error(description: str) -> Json:
    schema = {"$ref": _REF.format(model="Error")}
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def _header(description: str) -> Json:
    return {"description": description, "schema": {"type": "string"}}


_BINARY: Json = {"type": "string", "format": "binary"}


def _binary(*media_types: str) -> Json:
    return {media_type: {"schema": _BINARY} for media_type in media_types}


def _uploads(options: type[BaseModel], examples: dict[str, Json]) -> Json:
    """Bodies with pictures: a form, whose plain fields may be the options, or one file."""
    properties: Json = options.model_json_schema()["properties"]
    form = {
        "type": "object",
        "properties": {"files": {"type": "array", "items": _BINARY}, **properties},
        "required": ["files"],
        "additionalProperties": False,
    }
    return {
        "multipart/form-data": {"schema": form, "examples": _named(examples)},
        **_binary("image/*", MEDIA_TYPES["npy"], "application/octet-stream"),
    }


def _query(options: type[BaseModel], *, without: tuple[str, ...] = ()) -> list[Json]:
    """The fields of a model as query parameters."""
    properties: Json = options.model_json_schema()["properties"]
    return [
        {
            "name": name,
            "in": "query",
            "required": False,
            "description": schema.pop("description", ""),
            "schema": schema,
            **({"style": "form", "explode": False} if name in ("labels", "seeds", "size") else {}),
        }
        for name, schema in properties.items()
        if name not in without
    ]


def _named(examples: dict[str, Json]) -> Json:
    return {name: {"value": value} for name, value in examples.items()}


def _json_body(schema: type[BaseModel], examples: dict[str, Json]) -> Json:
    reference = {"$ref": _REF.format(model=schema.__name__)}
    return {"schema": reference, "examples": _named(examples)}


def _sample_examples(models: Models) -> dict[str, Json]:
    examples: dict[str, Json] = {"whatever": {}}
    for model in models:
        if not answers(model.manifest, "sample"):
            continue
        name = model.manifest.name
        examples[f"{name}, a sheet"] = {"model": name, "n": 16, "seed": 7, "format": "png"}
        examples[f"{name}, one seed each"] = {"model": name, "seeds": [3, 1, 4], "format": "zip"}
        if model.manifest.labels is not None:
            label = model.manifest.labels[-1]
            examples[f"{name}, by label"] = {"model": name, "labels": label, "n": 8, "seed": 7}
    return examples


def _decode_examples(models: Models) -> dict[str, Json]:
    examples: dict[str, Json] = {}
    for model in models:
        latent, size = model.manifest.latent, model.manifest.default_size
        if latent is not None and latent.values(size) <= _MAX_EXAMPLE_VALUES:
            latents = [_origin(latent.at(size))]
            example = {"model": model.manifest.name, "latents": latents, "format": "png"}
            examples[f"{model.manifest.name}, the prior's mean"] = example | _some_label(model)
    return examples


def _upload_examples(models: Models, reply: str, request: str) -> dict[str, Json]:
    # A file cannot stand in JSON: its name does, of any picture that the reader has.
    return {
        model.manifest.name: {
            "files": ["picture.png"],
            "model": model.manifest.name,
            "format": reply,
        }
        | ({"seed": 7} if request == "encode" and takes_noise(model.manifest) else {})
        | _some_label(model)
        for model in models
        if answers(model.manifest, request)
    }


def _interpolate_examples(models: Models) -> dict[str, Json]:
    return {
        model.manifest.name: {"model": model.manifest.name, "seeds": [1, 2], "steps": 8}
        | _some_label(model)
        for model in models
        if answers(model.manifest, "sample")
    }


def _manifold_examples(models: Models) -> dict[str, Json]:
    return {
        model.manifest.name: {"model": model.manifest.name, "steps": 8} | _some_label(model)
        for model in models
        if answers(model.manifest, "manifold")
    }


def _some_label(model: Model) -> Json:
    return {} if model.manifest.labels is None else {"labels": model.manifest.labels[0]}


def _origin(shape: tuple[int, ...]) -> list[Any]:
    if not shape:
        return 0.0  # pyright: ignore[reportReturnType]
    return [_origin(shape[1:]) for _ in range(shape[0])]
