"""Images of given latents."""

from typing import Annotated, Any

import numpy as np
from pydantic import BeforeValidator, Field
from starlette.responses import Response

from bento.endpoints import Endpoint, Json, some_condition
from bento.exchange.bodies import BYTES, JSON, NPY, in_thread, read_array
from bento.exchange.exchange import Exchange
from bento.exchange.replies import PICTURE_REPLIES
from bento.exchange.schemas import NetworkOptions, Numbers, PromptOptions, check_length
from runtime import Decode, Model

# Larger latents would make the description unreadable.
_MAX_EXAMPLE_VALUES = 512


class DecodeOptions(NetworkOptions, PromptOptions):
    """What latents may be decoded with."""

    same_noise: bool = Field(
        default=False,
        description="Each image with the noise of image 0 of the seed: they differ by their "
        "latents alone, as along a path.",
    )


class DecodeRequest(DecodeOptions):
    """Images of given latents."""

    latents: Annotated[Numbers, BeforeValidator(check_length)] = Field(
        description="Shape [n, *latent]."
    )


async def answer(x: Exchange) -> Response:
    if x.body.kind == JSON:
        options = await x.options(DecodeRequest)
        latents: Any = options.latents
    else:
        options = x.query(DecodeOptions)
        latents = read_array(x.body)
    model = x.model(options.model)
    request = Decode(
        latents,
        options.labels,
        options.seed or 0,
        options.truncation,
        options.size,
        options.tile,
        same_noise=options.same_noise,
        prompt=options.prompt,
    )
    x.call.holding.take(4 * latents.size)  # as float32
    with x.call.holding.meanwhile(5 * latents.size):  # their magnitudes, and which are too large
        job = await in_thread(latents.nbytes, request.job, model)
    x.check_count("latents", job.count)
    reply = await x.picture_reply(options, model, job, "latents")
    return await x.pictures(model, job, reply, options)


def examples(model: Model) -> dict[str, Json]:
    latent, size = model.manifest.latent, model.manifest.default_size
    if latent is None or latent.values(size) > _MAX_EXAMPLE_VALUES:
        return {}
    name, origin = model.manifest.name, np.zeros((1, *latent.at(size))).tolist()
    example = {"model": name, "latents": origin, "format": "png"}
    return {f"{name}, the prior's mean": example | some_condition(model)}


ENDPOINT = Endpoint(
    answer,
    reads=(JSON, NPY, BYTES),
    options=DecodeOptions,
    json=DecodeRequest,
    replies=PICTURE_REPLIES,
    summary="Decode latents",
    description="JSON, or a float32 `.npy` file of shape [n, *latent] with its options in the "
    "query string.",
    examples=examples,
)
