"""The principal directions of a latent space."""

import asyncio
from typing import Any
from weakref import WeakKeyDictionary, WeakValueDictionary

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from starlette.responses import Response

from bento.endpoints import Endpoint, Json, some_label
from bento.exchange.bodies import JSON, in_thread
from bento.exchange.exchange import Exchange
from bento.exchange.replies import JSON_REPLY, to_json
from bento.exchange.schemas import Options
from runtime import Directions, Model, PrincipalDirections
from runtime.requests.directions import size_of
from runtime.sampling.directions import MAX_DIRECTIONS

_NUMBER_BYTES = 12
"""Of a value in the reply, at most: `-0.1234567,`."""

_COPIES = 5
"""What directions are found in, over what the images take: the parts, and floats of 64 bits."""

_known: WeakKeyDictionary[Model, dict[int | None, PrincipalDirections]] = WeakKeyDictionary()
"""What was found of a model, by the index of the class."""

_finding: WeakValueDictionary[tuple[Model, int | None], asyncio.Lock] = WeakValueDictionary()
"""What is being found: further requests for it wait, and the next goes on where one is cut."""


class DirectionsRequest(Options):
    """The directions in a latent space that change images most."""

    count: int = Field(
        default=8,
        ge=1,
        le=MAX_DIRECTIONS,
        description="At most so many; never more than the latent has values.",
    )


async def answer(x: Exchange) -> Response:
    options = await x.options(DirectionsRequest)
    model = x.model(options.model)
    request = Directions(options.labels)
    job = request.job(model)
    reply = x.format(None, JSON_REPLY)
    latent = model.manifest.latent
    values = 0 if latent is None else latent.values(job.size)
    size = (options.count + 1) * values * _NUMBER_BYTES
    x.hold_reply("count", size)
    headers = {"X-Model": model.manifest.full_name}
    bodiless = x.without_body(headers, options, model, reply)
    if bodiless is not None:
        return bodiless
    known, label = _known.setdefault(model, {}), request.label(model.manifest)
    x.extend(model, job)
    async with _finding.setdefault((model, label), asyncio.Lock()):
        if label not in known:
            images = np.concatenate(await x.run_in_parts(model, job))
            with x.call.holding.meanwhile(_COPIES * images.nbytes):
                known[label] = await in_thread(images.nbytes, request.found, model, images)
    found = known[label].first(options.count)
    return await x.reply(size, reply, lambda: _body(model, label, found), headers)


def _body(model: Model, label: int | None, found: PrincipalDirections) -> bytes:
    names = model.manifest.labels
    return to_json(
        {
            "model": model.manifest.full_name,
            "label": None if label is None or names is None else names[label],
            "size": size_of(model.manifest),
            "samples": found.samples,
            "directions": _numbers(found.directions),
            "deviations": _numbers(found.deviations),
            "mean": _numbers(found.mean),
        }
    )


def _numbers(array: NDArray[np.float32]) -> list[Any]:
    return np.round(array.astype(np.float64), 6).tolist()


def examples(model: Model) -> dict[str, Json]:
    name = model.manifest.name
    return {name: {"model": name, "count": 4} | some_label(model)}


ENDPOINT = Endpoint(
    answer,
    reads=(JSON,),
    options=DirectionsRequest,
    replies=JSON_REPLY,
    summary="Principal directions of a latent space",
    description="For sliders: the latents mean + sum of t[i] * deviations[i] * directions[i], each "
    "t[i] in about [-3, 3], are such as the prior draws; `/decode` makes images of them. The "
    "directions are of length 1 and orthogonal, those that change images most first; of one "
    "class, the first without `labels`, and of images of the `size` given. The first request for "
    "a model takes some hundred images, further ones nothing.",
    examples=examples,
)
