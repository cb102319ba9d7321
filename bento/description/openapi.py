"""The OpenAPI description, from the same endpoints and pydantic models that answer the requests.

Its examples name the models that are loaded, so that each of them works as it stands.
"""

import json
from collections.abc import Iterable, Sequence
from typing import Any

from pydantic import BaseModel, Field

from bento.description.fields import form_fields, query_fields
from bento.description.listing import ListOptions
from bento.endpoints import API_VERSION, Endpoint, endpoints
from bento.errors import ErrorShape, error_body
from bento.exchange.bodies import JSON
from bento.exchange.uploads import MULTIPART
from bento.protocols import Protocol, lookups, protocols
from bento.repository.models import Models
from bento.settings import Settings
from runtime import Model
from runtime.artifact.manifest import SHEET
from runtime.requests import answers

Json = dict[str, Any]

_REF = "#/components/schemas/{model}"
_ERRORS = {
    400: "The body cannot be parsed.",
    401: "The service has an API key, and the request does not carry it.",
    406: "No format of this endpoint is accepted.",
    404: "No such model, or it has none.",
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

    error: str = Field(description="What went wrong, in a sentence.")
    field: str | None = Field(description="The part of the request that is wrong, if one is.")
    expected: str | None = Field(description="What may stand there.")
    found: str | None = Field(description="What stood there.")


class Description:
    """The document of what is served, as JSON; made again when that has changed, which takes a
    tenth of a second."""

    def __init__(self, settings: Settings, models: Models) -> None:
        self._settings, self._models = settings, models
        self._digests: tuple[str, ...] | None = None
        self._json = b""

    def json(self) -> bytes:
        digests = tuple(model.digest for model in self._models)
        if digests != self._digests:
            document = openapi_document(self._settings, self._models)
            self._json = json.dumps(document, separators=(",", ":")).encode()
            self._digests = digests
        return self._json


def openapi_document(settings: Settings, models: Models) -> Json:
    """An OpenAPI 3.1 document of every endpoint."""
    key: Json = {"type": "http", "scheme": "bearer"}
    paths = {f"/{name}": _endpoint(name, e, settings, models) for name, e in endpoints().items()}
    paths |= {p: _protocol(p, each, settings, models) for p, each in protocols().items()}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "latentserve",
            "version": API_VERSION,
            "description": "Images from VAE decoders and GAN generators. Image i of a seed is a "
            "function of model, seed, i, label or prompt, truncation and size alone.",
        },
        "tags": [{"name": name, "description": text} for name, text in _TAGS.items()],
        "servers": [{"url": "."}],
        "paths": _grouped(paths | _gets(models)),
        "components": {"schemas": _schemas(), "securitySchemes": {"key": key}},
        "security": [] if settings.api_key is None else [{"key": []}],
    }


_TAGS = {
    "requests": "What models are asked for.",
    "models": "What is served.",
    "service": "Whether it works, and how much it does.",
    "OpenAI": "As OpenAI's clients ask for images.",
    "open-inference": "The Open Inference Protocol of KServe and Triton.",
    "remote-VAE": "As diffusers asks autoencoders.",
}
_PREFIXES = {
    "/v1/": "OpenAI",
    "/v2": "open-inference",
    "/remote_vae/": "remote-VAE",
    "/models": "models",
    "/livez": "service",
    "/readyz": "service",
    "/metrics": "service",
}
"""How the paths of a tag begin; all others are requests."""


def _grouped(paths: Json) -> Json:
    """Paths whose operations have the tags that they are shown under."""
    return {
        path: {method: {**operation, "tags": [_tag(path)]} for method, operation in methods.items()}
        for path, methods in paths.items()
    }


def _tag(path: str) -> str:
    return next((tag for start, tag in _PREFIXES.items() if path.startswith(start)), "requests")


def _schemas() -> Json:
    schemas: Json = {}
    others = protocols().values()
    asked = (*endpoints().values(), *(each.endpoint for each in others))
    told = (*others, *lookups().values())
    shapes = dict.fromkeys(each.errors.schema for each in told if each.errors is not None)
    for model in (*(endpoint.json_schema for endpoint in asked), Error, *shapes):
        if model is not None:
            schema = model.model_json_schema(ref_template=_REF)
            schemas |= schema.pop("$defs", {})
            schemas[model.__name__] = schema
    return schemas


def _gets(models: Models) -> Json:
    """What is read without a body. The paths below `/models` name the first model that has them."""
    named = next(iter(models), None)
    shown = next((model for model in models if model.sheet is not None), None)
    full = _get("All that is known of a model, with its figures explained", JSON)
    sheet = _get("A sheet of the model's samples", "image/png", errors=(404,))
    full["get"]["parameters"] = _in_path("/models/{model}", named)
    sheet["get"]["parameters"] = _in_path("/models/{model}", shown)
    listed = _get("Models served, artifacts that are being loaded, and that failed", JSON)
    listed["get"]["parameters"] = query_fields(ListOptions)
    told = {
        path: _get(each.summary, JSON, errors=each.statuses, shape=each.errors)
        for path, each in lookups().items()
    }
    for path, operations in told.items():
        operations["get"]["parameters"] = _in_path(path, named)
    return told | {
        "/models": listed,
        "/models/{model}": full,
        f"/models/{{model}}/{SHEET}": sheet,
        "/readyz": _get(
            "200 once all artifacts have been tried, and those served are verified and warm; 503 "
            "until then (with what is being done), without any, and while an engine fails",
            JSON,
            errors=(503,),
        ),
        "/livez": _get("200 while the process answers", "text/plain"),
        "/metrics": _get("Prometheus metrics", "text/plain"),
    }


def _in_path(path: str, model: Model | None) -> list[Json]:
    """The parameters that stand in a path, with those of a model for which it is."""
    manifest = None if model is None else model.manifest
    texts = {"model": "Name, or name@version.", "version": "The one that is served."}
    shown = {} if manifest is None else {"model": manifest.name, "version": str(manifest.version)}
    return [
        {
            "name": name,
            "in": "path",
            "required": True,
            "description": text,
            "schema": {"type": "string"},
            **({"example": shown[name]} if shown else {}),
        }
        for name, text in texts.items()
        if f"{{{name}}}" in path
    ]


def _endpoint(name: str, endpoint: Endpoint, settings: Settings, models: Models) -> Json:
    """The operations of one path."""
    able = [model for model in models if not name or answers(model.manifest, name)]
    examples = {title: value for m in able for title, value in endpoint.examples(m).items()}
    about = [] if endpoint.about is None else list(map(endpoint.about, able))
    if not able:
        about = ["No model that is loaded now answers this."]
    described: Json = {
        "summary": endpoint.summary,
        "description": " ".join([_description(endpoint, settings), *about]),
    }
    answered = _responses(endpoint)
    # Where no body holds options, the query has those of an example.
    in_query = {} if {JSON, MULTIPART} & set(endpoint.reads) else _first(examples)
    post: Json = {
        **described,
        "parameters": []
        if set(endpoint.reads) == {JSON}
        else query_fields(endpoint.options, in_query),
        "requestBody": {
            "required": endpoint.needs_body,
            "content": _bodies(endpoint, examples, _files(name, endpoint, able)),
        },
        "responses": answered,
    }
    if endpoint.needs_body:
        return {"post": post}
    known = {"304": {"description": "As `If-None-Match` knows it."}}
    get: Json = {
        **described,
        "parameters": query_fields(endpoint.options, _first(examples)),
        "responses": answered | known,
    }
    return {"get": get, "post": post}


def _first(examples: Json) -> Json:
    """The values of a query or a form, which has those of one example alone."""
    return next(iter(examples.values()), dict[str, Any]())


def _files(name: str, endpoint: Endpoint, able: Sequence[Model]) -> list[str]:
    """Those of an endpoint's further files that the example's model needs."""
    graph = able[0].manifest.graphs.get(name) if able else None
    roles = set[str]() if graph is None else {tensor.role for tensor in graph.inputs}
    return [file for file in endpoint.files if file in roles]


def _responses(endpoint: Endpoint) -> Json:
    headers = {"X-Model": "name@version", **endpoint.headers}
    ok = {
        "description": "In the chosen format.",
        "headers": {name: _header(text) for name, text in headers.items()},
        "content": _contents(reply.media_type for reply in endpoint.replies.values()),
    }
    return {"200": ok, **{str(s): _error(text) for s, text in _ERRORS.items() if s != 404}}


def _protocol(path: str, each: Protocol, settings: Settings, models: Models) -> Json:
    """An endpoint of another protocol. Its path may name the model: one that its examples are of,
    where it has any."""
    name, endpoint = each.request, each.endpoint
    operation = _endpoint(name, endpoint, settings, models)["post"]
    able = [model for model in models if not name or answers(model.manifest, name)]
    shown = next(filter(endpoint.examples, able), next(iter(able), None))
    operation["parameters"] = [*_in_path(path, shown), *operation["parameters"]]
    if each.errors is not None:
        replies = operation["responses"]
        operation["responses"] = {"200": replies["200"], **_shaped(each.errors)}
    return {"post": operation}


def _shaped(errors: ErrorShape) -> Json:
    """Our errors as another protocol has them."""
    texts: dict[int, str] = {}
    for status, text in _ERRORS.items():
        theirs, _ = errors.of(status, error_body(text))
        texts[theirs] = " ".join(filter(None, (texts.get(theirs), text)))
    return {str(status): _error(text, errors.schema) for status, text in sorted(texts.items())}


def _description(endpoint: Endpoint, settings: Settings) -> str:
    text = [endpoint.description]
    if not endpoint.needs_body:
        text.append("GET has the options in its query string.")
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


def _bodies(endpoint: Endpoint, examples: Json, needed: Sequence[str]) -> Json:
    """The body's media types. The examples are those of JSON, or the first of them of a form, which
    needs some of the endpoint's files."""
    content = _contents(endpoint.reads)
    schema = endpoint.json_schema
    if schema is not None:
        named = {title: {"value": value} for title, value in examples.items()}
        content[JSON] = {
            "schema": {"$ref": _REF.format(model=schema.__name__)},
            "examples": named,
        }
    if MULTIPART in content:
        form = {
            "type": "object",
            "properties": {
                endpoint.pictures: {"type": "array", "items": _BINARY},
                **dict.fromkeys(endpoint.files, _BINARY),
                **form_fields(endpoint.options, _first(examples)),
            },
            "required": [endpoint.pictures, *needed],
            "additionalProperties": False,
        }
        content[MULTIPART] = {"schema": form}
    return content


_BINARY: Json = {"type": "string", "format": "binary"}


def _contents(media_types: Iterable[str]) -> Json:
    return {
        name: {"schema": {"type": "object"} if name == JSON else _BINARY}
        for name in filter(None, media_types)
    }


def _get(
    summary: str,
    media_type: str,
    *,
    errors: tuple[int, ...] = (),
    shape: ErrorShape | None = None,
) -> Json:
    schema = {"type": "object" if media_type == JSON else "string"}
    ok = {"description": summary, "content": {media_type: {"schema": schema}}}
    body = Error if shape is None else shape.schema
    failed = {str(status): _error(_ERRORS[status], body) for status in errors}
    return {"get": {"summary": summary, "responses": {"200": ok, **failed}}}


def _error(description: str, schema: type[BaseModel] = Error) -> Json:
    reference = {"$ref": _REF.format(model=schema.__name__)}
    return {"description": description, "content": {JSON: {"schema": reference}}}


def _header(description: str) -> Json:
    return {"description": description, "schema": {"type": "string"}}
