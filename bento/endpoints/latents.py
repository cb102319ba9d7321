"""The latents of a seed: to be changed, and decoded."""

import secrets
from typing import Annotated

from pydantic import Field
from starlette.responses import Response

from bento.bodies import JSON
from bento.endpoint import Endpoint, Json
from bento.exchange import Exchange
from bento.models import full_name
from bento.replies import ARRAY_REPLIES
from bento.schemas import Count, OneOf, Options, Seed, Seeds, SizePair, Truncation
from runtime import Model
from runtime.requests.encode import Encoding
from runtime.requests.sample import Sample
from runtime.sampling.streams import MAX_SEED


class LatentsRequest(Options):
    """Which latents: as the images of `/sample`."""

    n: Count | None = Field(default=None, ge=1, description="With a seed; 1 without.")
    seed: Seed | None = Field(default=None, description="Drawn by the server without.")
    offset: int = Field(default=0, ge=0, lt=MAX_SEED, description="The first image's number.")
    seeds: Seeds | None = Field(
        default=None, min_length=1, description="Instead of `n`, `seed` and `offset`."
    )
    truncation: Truncation | None = None
    size: SizePair | None = Field(default=None, description="[height, width] of the images.")
    format: Annotated[str, OneOf(tuple(ARRAY_REPLIES))] | None = Field(
        default=None, description="Wins over the Accept header; `json` without either."
    )


async def answer(x: Exchange) -> Response:
    options = await x.options(LatentsRequest)
    model = x.model(options.model)
    n, seed = options.n, options.seed
    if options.seeds is None:
        n, seed = n or 1, secrets.randbelow(MAX_SEED) if seed is None else seed
    request = Sample(n, seed, options.offset, options.seeds, None, options.truncation, options.size)
    count = request.counter.count
    x.check_count("n" if options.seeds is None else "seeds", count)
    job = request.job(model)
    reply = x.format(options.format, ARRAY_REPLIES)
    latent = model.manifest.latent
    size = count * reply.value_bytes * (0 if latent is None else latent.values(job.size))
    x.hold_reply("n", size)
    x.call.seed, name = seed, full_name(model)
    headers = {"X-Model": name} | ({} if seed is None else {"X-Seed": str(seed)})
    return await x.reply(
        size, reply, lambda: reply.encode(Encoding(request.latents(model)), name), headers
    )


def examples(model: Model) -> dict[str, Json]:
    name = model.manifest.name
    return {name: {"model": name, "seed": 7, "n": 2}}


ENDPOINT = Endpoint(
    answer,
    reads=(JSON,),
    options=LatentsRequest,
    replies=ARRAY_REPLIES,
    summary="Latents of a seed",
    description="Float32 [n, *latent], those that `/sample` decodes for the same options.",
    examples=examples,
    headers={"X-Seed": "The seed, also where the server drew it."},
)
