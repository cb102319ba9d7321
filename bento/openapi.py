"""The OpenAPI description, from the same endpoints and pydantic models that answer the requests.

Its examples name the models that are loaded, so that each of them works as it stands.
"""

from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel

from bento.bodies import JSON
from bento.endpoint import API_VERSION, Endpoint
from bento.endpoints import endpoints
from bento.models import Models
from bento.protocols import lookups, protocols
from bento.schemas import LISTS
from bento.settings import Settings
from bento.uploads import MULTIPART
from runtime.artifact.manifest import SHEET
from runtime.requests import answers

Json = dict[str, Any]

_IN_PATHS = {"model": "Name, or name@version.", "version": "Of the model."}
_REF = "#/components/schemas/{model}"
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
    503: "No model is loaded, or this one is still being loaded, or an engine fails.",
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
    posts = {f"/{name}": _post(name, e, settings, models) for name, e in endpoints().items()}
    posts |= {p: _post(e.request, e.endpoint, settings, models) for p, e in protocols().items()}
    paths: Json = _gets()
    for path, operations in posts.items():
        paths[path] = paths.get(path, {}) | operations
    for path, operations in paths.items():
        for operation in operations.values():
            operation["parameters"] = _of_path(path) + operation.get("parameters", [])
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "latentserve",
            "version": API_VERSION,
            "description": "Images from VAE decoders and GAN generators. Image i of a seed is a "
            "function of model, seed, i, label and truncation alone.",
        },
        "servers": [{"url": "."}],
        "paths": paths,
        "components": {"schemas": _schemas(), "securitySchemes": {"key": key}},
        "security": [] if settings.api_key is None else [{"key": []}],
    }


def _schemas() -> Json:
    schemas: Json = {}
    all_endpoints = (*endpoints().values(), *(each.endpoint for each in protocols().values()))
    bodies = (endpoint.json_schema for endpoint in all_endpoints)
    for model in (*bodies, Error):
        if model is not None:
            schema = model.model_json_schema(ref_template=_REF)
            schemas |= schema.pop("$defs", {})
            schemas[model.__name__] = schema
    return schemas


def _gets() -> Json:
    told = {
        path: _get(each.summary, JSON, errors=(503,) if each.unready else ())
        for path, each in lookups().items()
    }
    return told | {
        "/models": _get("Models served, artifacts that are being loaded, and that failed", JSON),
        "/models/{model}": _get("All that is known of a model, with its figures explained", JSON),
        f"/models/{{model}}/{SHEET}": _get("A sheet of the model's samples", "image/png"),
        "/readyz": _get(
            "200 once all artifacts have been tried, and those served are verified and warm; 503 "
            "until then (with what is being done), without any, and while an engine fails",
            JSON,
            errors=(503,),
        ),
        "/livez": _get("200 while the process answers", "text/plain"),
        "/metrics": _get("Prometheus metrics", "text/plain"),
    }


def _post(name: str, endpoint: Endpoint, settings: Settings, models: Models) -> Json:
    examples: Json = {}
    about: list[str] = []
    for model in models:
        if name and answers(model.manifest, name):
            made = endpoint.examples(model)
            examples |= {title: {"value": value} for title, value in made.items()}
            about += [endpoint.about(model)] if endpoint.about is not None else []
    headers = {"X-Model": "name@version", **endpoint.headers}
    ok = {
        "description": "In the chosen format.",
        "headers": {name: _header(text) for name, text in headers.items()},
        "content": _contents(reply.media_type for reply in endpoint.replies.values()),
    }
    operation = {
        "summary": endpoint.summary,
        "description": " ".join([_description(endpoint, settings), *about]),
        "parameters": _query(endpoint.options),
        "requestBody": {
            "required": endpoint.needs_body,
            "content": _bodies(endpoint, examples),
        },
        "responses": {"200": ok, **{str(s): _error(text) for s, text in _ERRORS.items()}},
    }
    return {"post": operation}


def _of_path(path: str) -> list[Json]:
    """The parameters that stand in a path."""
    return [
        {
            "name": name,
            "in": "path",
            "required": True,
            "description": text,
            "schema": {"type": "string", "minLength": 1},
        }
        for name, text in _IN_PATHS.items()
        if f"{{{name}}}" in path
    ]


def _description(endpoint: Endpoint, settings: Settings) -> str:
    text = [endpoint.description]
    if not endpoint.needs_body:
        text.append("Options may also stand in the query string, without a body.")
    if MULTIPART in endpoint.reads:
        text.append(
            "Picture files of any size are cropped and resized as in training; an `.npy` file is "
            f"uint8 [n, H, W, C] of the exact size. At most {settings.max_files} files of "
            f"{settings.max_pixels} pixels each, {settings.max_upload_pixels} together."
        )
    text.append(
        f"At most {settings.max_images} images, {settings.max_body_bytes} bytes of body "
        f"({settings.max_json_bytes} of JSON) and {settings.max_reply_bytes} bytes of reply "
        "before compression."
    )
    return " ".join(text)


def _bodies(endpoint: Endpoint, examples: Json) -> Json:
    """The body's media types. The examples are those of JSON, or of a form."""
    content = _contents(endpoint.reads)
    schema = endpoint.json_schema
    if schema is not None:
        reference = {"$ref": _REF.format(model=schema.__name__)}
        content[JSON] = {"schema": reference, "examples": examples}
    if MULTIPART in content:
        properties: Json = endpoint.options.model_json_schema()["properties"]
        form = {
            "type": "object",
            "properties": {
                "files": {"type": "array", "items": _BINARY},
                **dict.fromkeys(endpoint.files, _BINARY),
                **properties,
            },
            "required": ["files"],
            "additionalProperties": False,
        }
        content[MULTIPART] = {"schema": form, "examples": examples}
    return content


_BINARY: Json = {"type": "string", "format": "binary"}


def _contents(media_types: Iterable[str]) -> Json:
    return {
        name: {"schema": {"type": "object"} if name == JSON else _BINARY}
        for name in filter(None, media_types)
    }


def _get(summary: str, media_type: str, *, errors: tuple[int, ...] = ()) -> Json:
    schema = {"type": "object" if media_type == JSON else "string"}
    ok = {"description": summary, "content": {media_type: {"schema": schema}}}
    failed = {str(status): _error(_ERRORS[status]) for status in errors}
    return {"get": {"summary": summary, "responses": {"200": ok, **failed}}}


def _error(description: str) -> Json:
    schema = {"$ref": _REF.format(model="Error")}
    return {"description": description, "content": {JSON: {"schema": schema}}}


def _header(description: str) -> Json:
    return {"description": description, "schema": {"type": "string"}}


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
            # As lists separated by commas.
            **({"style": "form", "explode": False} if name in LISTS else {}),
        }
        for name, schema in properties.items()
    ]
