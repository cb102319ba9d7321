"""The endpoints of the Open Inference Protocol."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from bento.endpoints import API_VERSION, Endpoint, Json
from bento.errors import ErrorBody, ErrorShape, RequestError
from bento.exchange.bodies import BYTES, JSON, Body, in_thread, read_options, too_large
from bento.exchange.exchange import Exchange
from bento.exchange.replies import JSON_REPLY, PlainReply, Reply
from bento.protocols import Lookup, Protocol
from bento.protocols.open_inference.messages import (
    InferRequest,
    chosen_outputs,
    given_tensors,
    reply_bytes,
    written,
)
from bento.protocols.open_inference.signatures import (
    NAMES,
    Signature,
    Tensor,
    main_of,
    row_shapes,
    signature_of,
)
from bento.repository.models import Models, works
from runtime import InputError, Model

JSON_LENGTH = "Inference-Header-Content-Length"
"""The header with the number of bytes that are JSON, where tensors follow it."""

_REPLIES: Mapping[str, Reply] = {**JSON_REPLY, "tensors": PlainReply("tensors", BYTES)}


class InferError(BaseModel):
    """The body of an error."""

    error: str = Field(description="What went wrong, what was expected, and what was found.")


class NoOptions(BaseModel):
    """Nothing stands in the query string."""


@dataclass(frozen=True)
class Served:
    """What a path names: a model of this protocol."""

    name: str
    model: Model
    signature: Signature

    @classmethod
    def of(cls, request: Request, models: Models) -> "Served":
        """RequestError 404 where there is no such model or version, 503 while it is loaded."""
        parts = request.scope["path"].split("/")
        name, version = parts[3], parts[5] if parts[4:5] == ["versions"] else ""
        artifact, _, last = name.rpartition(".")
        own = any(model.manifest.name == name for model in models)
        if own or not artifact or last not in NAMES:
            artifact, last = name, ""
        model = models.named(f"{artifact}@{version}" if version else artifact, last or None)
        signature = signature_of(model.manifest, last or main_of(model.manifest))
        return cls(name, model, signature)


async def infer(x: Exchange) -> Response:
    served = Served.of(x.request, x.models)
    model, signature = served.model, served.signature
    x.call.model = model.manifest.name
    text, behind = _split(x)
    asked = await read_options(x.request, Body(JSON, text), InferRequest, x.settings.max_images)
    given = given_tensors(asked.inputs, signature.inputs, behind)
    for name, array in given.items():
        x.check_count(name, len(array))  # before anything is made of so many
    chosen = chosen_outputs(asked, signature.outputs)
    size = sum(array.nbytes for array in given.values())
    x.call.holding.take(size)  # once more, as the engine takes them
    with x.call.holding.meanwhile(2 * size):  # while they are checked
        job = await in_thread(size, signature.job, model, given)
    x.check_count(signature.counted, job.count)
    shapes = zip(signature.outputs, row_shapes(model.manifest, job), strict=True)
    size = reply_bytes(shapes, chosen, job.count)
    x.hold_reply(signature.counted, size)
    x.call.images = job.count
    arrays = signature.arrays(await x.run(model, job))
    about: dict[str, Any] = {} if asked.id is None else {"id": asked.id}
    about |= {"model_name": served.name, "model_version": str(model.manifest.version)}
    in_json = 0 if all(chosen.values()) else size
    head, tensors = await in_thread(in_json, written, about, signature.outputs, arrays, chosen)
    headers = {"X-Model": model.manifest.full_name}
    if not tensors:
        return await x.reply(0, _REPLIES["json"], lambda: head, headers)
    headers[JSON_LENGTH] = str(len(head))
    pieces = (head, *(array.data.cast("B") for array in tensors))
    return await x.reply(size, _REPLIES["tensors"], lambda: b"".join(pieces), headers)


def _split(x: Exchange) -> tuple[bytes, memoryview]:
    """The body's JSON, and what stands behind it."""
    content, stated = x.body.content, x.request.headers.get(JSON_LENGTH)
    length = len(content)
    if stated is not None:
        plain = stated.isascii() and stated.isdecimal() and len(stated) < 16
        if not plain or int(stated) > length:
            expected = f"a number of bytes of the body, which has {length}"
            raise InputError(JSON_LENGTH, expected, stated[:80])
        length = int(stated)
    limit = x.settings.max_json_bytes
    if length > limit:
        raise too_large(limit, f"{length} bytes of JSON")
    return content[:length], memoryview(content)[length:]


async def server(request: Request, models: Models) -> Response:
    return JSONResponse(
        {"name": "latentserve", "version": API_VERSION, "extensions": ["binary_tensor_data"]}
    )


async def live(request: Request, models: Models) -> Response:
    return JSONResponse({"live": True})


async def ready(request: Request, models: Models) -> Response:
    missing = await models.missing()
    if missing is not None:
        raise RequestError(503, f"not ready: {missing}", headers={"Retry-After": "1"})
    return JSONResponse({"ready": True})


async def model_ready(request: Request, models: Models) -> Response:
    served = Served.of(request, models)
    if not await works(served.model):
        raise RequestError(503, "not ready: its engine fails, the log has the details")
    return JSONResponse({"name": served.name, "ready": True})


async def metadata(request: Request, models: Models) -> Response:
    served = Served.of(request, models)
    return JSONResponse(
        {
            "name": served.name,
            "versions": [str(served.model.manifest.version)],
            "platform": f"{served.model.variant.engine}_onnx",
            "inputs": [_described(tensor) for tensor in served.signature.inputs],
            "outputs": [_described(tensor) for tensor in served.signature.outputs],
        }
    )


def _described(tensor: Tensor) -> dict[str, Any]:
    return {"name": tensor.name, "datatype": tensor.datatype, "shape": list(tensor.shape)}


def _examples(model: Model) -> dict[str, Json]:
    if main_of(model.manifest) != "sample":
        return {}
    seed = {"name": "seed", "datatype": "INT64", "shape": [1], "data": [7]}
    return {"The first image of a seed": {"inputs": [seed]}}


def _error(status: int, body: ErrorBody) -> tuple[int, Mapping[str, Any]]:
    """All that is known of it in one text: clients of this protocol show nothing else."""
    text = body["error"] or ""
    found = (f"{what} {body[what]}" for what in ("expected", "found") if body[what] is not None)
    details = ", ".join(found)
    if details and details not in text:
        text = f"{text}: {body['field']}: {details}" if body["field"] else f"{text}: {details}"
    return status, {"error": text}


_ERRORS = ErrorShape(_error, InferError)
_INFER = Protocol(
    "",
    Endpoint(
        infer,
        reads=(JSON, BYTES, ""),
        options=NoOptions,
        json=InferRequest,
        replies=_REPLIES,
        summary="Run a graph, or sample, by the Open Inference Protocol",
        description=f"The body is JSON, or JSON and raw tensors behind it: then `{JSON_LENGTH}` "
        "says how many bytes are JSON, and the media type is `application/octet-stream`.",
        examples=_examples,
        headers={JSON_LENGTH: "Bytes of JSON, where tensors follow it."},
    ),
    _ERRORS,
)
_MODEL = "/v2/models/{model}"
_VERSION = f"{_MODEL}/versions/{{version}}"

PROTOCOLS: Mapping[str, Protocol] = {f"{path}/infer": _INFER for path in (_MODEL, _VERSION)}

LOOKUPS: Mapping[str, Lookup] = {
    "/v2": Lookup(server, "The service, by the Open Inference Protocol", _ERRORS),
    "/v2/health/live": Lookup(live, "200 while the process answers", _ERRORS),
    "/v2/health/ready": Lookup(ready, "200 where /readyz is 200", _ERRORS, (503,)),
    **{
        path: Lookup(metadata, "The tensors of a model", _ERRORS, (404,))
        for path in (_MODEL, _VERSION)
    },
    **{
        f"{path}/ready": Lookup(model_ready, "200 where a model is served", _ERRORS, (404, 503))
        for path in (_MODEL, _VERSION)
    },
}
