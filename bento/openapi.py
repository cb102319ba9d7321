"""The OpenAPI description, from the same pydantic models that check the requests.

Its examples name the models that are loaded, so that each of them works as it stands.
"""

from typing import Any

from pydantic import BaseModel

from bento.models import Models
from bento.replies import ARRAY_REPLIES, PICTURE_REPLIES
from bento.schemas import (
    DecodeRequest,
    EncodeOptions,
    InterpolateRequest,
    PictureOptions,
    SampleRequest,
)
from bento.settings import Settings
from runtime import Model
from runtime.encoding import MEDIA_TYPES

Json = dict[str, Any]

API_VERSION = "1"
"""Counts changes that break clients; the package has a version of its own."""

_REF = "#/components/schemas/{model}"
# Larger latents would make the document unreadable.
_MAX_EXAMPLE_VALUES = 512

_ERRORS = {
    400: "The body cannot be parsed.",
    406: "No format of this endpoint is accepted.",
    413: "The body is too large.",
    415: "The body's media type is not read here.",
    422: "A value is not acceptable; `field` names it.",
    429: "The queue is full; try again after `Retry-After` seconds.",
    500: "The engine failed; the server's log says how.",
    503: "No model is loaded.",
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
        "components": {"schemas": _schemas()},
    }


def _schemas() -> Json:
    schemas: Json = {}
    for model in (SampleRequest, DecodeRequest, InterpolateRequest, Error):
        schema = model.model_json_schema(ref_template=_REF)
        schemas |= schema.pop("$defs", {})
        schemas[model.__name__] = schema
    return schemas


def _paths(settings: Settings, models: Models) -> Json:
    limits = f"At most {settings.max_images} images and {settings.max_body_bytes} bytes of body."
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
            parameters=_query(PictureOptions),
        ),
        "/encode": _post(
            "Encode pictures",
            "The posterior's mean and log variance. Picture files of any size are cropped and "
            f"resized as in training; an `.npy` file is uint8 [n, H, W, C] of the exact size. "
            f"At most {settings.max_files} files of {settings.max_pixels} pixels each. {limits}",
            _uploads(),
            ARRAY_REPLIES,
            parameters=_query(EncodeOptions),
        ),
        "/reconstruct": _post(
            "Encode and decode pictures",
            "The images of the posterior's mean. Bodies as for /encode.",
            _uploads(),
            PICTURE_REPLIES,
            parameters=_query(PictureOptions),
        ),
        "/interpolate": _post(
            "Images on the way from one latent to another",
            f"Between image 0 of two seeds, or between two latents. {limits}",
            {"application/json": _json_body(InterpolateRequest, _interpolate_examples(models))},
            PICTURE_REPLIES,
        ),
        "/models": _get("Models served, and artifacts that failed to load", "application/json"),
        "/readyz": _get(
            "200 once the models are loaded and verified, 503 without any", "text/plain"
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


def _get(summary: str, media_type: str) -> Json:
    schema = {"type": "object" if media_type == "application/json" else "string"}
    ok = {"description": summary, "content": {media_type: {"schema": schema}}}
    responses: Json = {"200": ok}
    if summary.startswith("200 once"):
        responses["503"] = _error(_ERRORS[503])
    return {"get": {"summary": summary, "responses": responses}}


def _error(description: str) -> Json:
    schema = {"$ref": _REF.format(model="Error")}
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def _header(description: str) -> Json:
    return {"description": description, "schema": {"type": "string"}}


_BINARY: Json = {"type": "string", "format": "binary"}


def _binary(*media_types: str) -> Json:
    return {media_type: {"schema": _BINARY} for media_type in media_types}


def _uploads() -> Json:
    files = {"type": "object", "properties": {"files": {"type": "array", "items": _BINARY}}}
    return {
        "multipart/form-data": {"schema": files},
        **_binary("image/*", MEDIA_TYPES["npy"], "application/octet-stream"),
    }


def _query(options: type[BaseModel]) -> list[Json]:
    """The fields of a model as query parameters."""
    properties: Json = options.model_json_schema()["properties"]
    return [
        {
            "name": name,
            "in": "query",
            "required": False,
            "description": schema.pop("description", ""),
            "schema": schema,
            **({"style": "form", "explode": False} if name in ("labels", "seeds") else {}),
        }
        for name, schema in properties.items()
    ]


def _json_body(schema: type[BaseModel], examples: dict[str, Json]) -> Json:
    named = {name: {"value": value} for name, value in examples.items()}
    return {"schema": {"$ref": _REF.format(model=schema.__name__)}, "examples": named}


def _sample_examples(models: Models) -> dict[str, Json]:
    examples: dict[str, Json] = {"whatever": {}}
    for model in models:
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
        if model.manifest.latent.size <= _MAX_EXAMPLE_VALUES:
            latents = [_origin(model.manifest.latent.shape)]
            example = {"model": model.manifest.name, "latents": latents, "format": "png"}
            examples[f"{model.manifest.name}, the prior's mean"] = example | _some_label(model)
    return examples


def _interpolate_examples(models: Models) -> dict[str, Json]:
    return {
        model.manifest.name: {"model": model.manifest.name, "seeds": [1, 2], "steps": 8}
        | _some_label(model)
        for model in models
    }


def _some_label(model: Model) -> Json:
    return {} if model.manifest.labels is None else {"labels": model.manifest.labels[0]}


def _origin(shape: tuple[int, ...]) -> list[Any]:
    if not shape:
        return 0.0  # pyright: ignore[reportReturnType]
    return [_origin(shape[1:]) for _ in range(shape[0])]
