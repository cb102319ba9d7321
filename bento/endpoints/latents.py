"""The latents of a seed, or of the grid of `/manifold`: to be changed, and decoded."""

import secrets
from collections.abc import Callable
from typing import Annotated

from pydantic import Field
from starlette.responses import Response

from bento.endpoints import Endpoint, Json
from bento.exchange.bodies import JSON
from bento.exchange.exchange import Exchange
from bento.exchange.replies import ARRAY_REPLIES
from bento.exchange.schemas import Count, OneOf, Options, Seed, Seeds, SizePair, Truncation
from runtime import InputError, Model
from runtime.images import Float32Array
from runtime.requests.encode import Encoding
from runtime.requests.manifold import MAX_STEPS, Manifold
from runtime.requests.sample import Sample
from runtime.sampling.streams import MAX_SEED


class LatentsRequest(Options):
    """Which latents: as the images of `/sample`, or as those of `/manifold`."""

    n: Count | None = Field(default=None, ge=1, description="With a seed; 1 without.")
    seed: Seed | None = Field(default=None, description="Drawn by the server without.")
    offset: int = Field(default=0, ge=0, lt=MAX_SEED, description="The first image's number.")
    seeds: Seeds | None = Field(
        default=None, min_length=1, description="Instead of `n`, `seed` and `offset`."
    )
    grid: int | None = Field(
        default=None,
        ge=1,
        le=MAX_STEPS,
        description="Instead of a seed: those of `/manifold` with so many steps.",
    )
    truncation: Truncation | None = Field(default=None, description="As for `/sample`.")
    size: SizePair | None = Field(default=None, description="[height, width] of the images.")
    format: Annotated[str, OneOf(tuple(ARRAY_REPLIES))] | None = Field(
        default=None, description="Wins over the Accept header; `json` without either."
    )


async def answer(x: Exchange) -> Response:
    options = await x.options(LatentsRequest)
    model = x.model(options.model)
    if options.grid is not None:
        _check_alone(options)
        x.check_count("grid", options.grid**2)
        grid = Manifold(options.grid).latents(model)
        return await _reply(x, options, model, grid.size, lambda: grid)
    n, seed = options.n, options.seed
    if options.seeds is None:
        n, seed = n or 1, secrets.randbelow(MAX_SEED) if seed is None else seed
    x.call.seed = seed
    request = Sample(n, seed, options.offset, options.seeds, None, options.truncation, options.size)
    count = request.counter.count
    x.check_count("n" if options.seeds is None else "seeds", count)
    job, latent = request.job(model), model.manifest.latent
    values = count * (0 if latent is None else latent.values(job.size))
    return await _reply(x, options, model, values, lambda: request.latents(model), seed)


def _check_alone(options: LatentsRequest) -> None:
    given = options.model_dump(exclude_defaults=True, exclude={"model", "labels", "format", "grid"})
    if given:
        raise InputError("grid", f"either grid or {', '.join(given)}", "both")


async def _reply(
    x: Exchange,
    options: LatentsRequest,
    model: Model,
    values: int,
    latents: Callable[[], Float32Array],
    seed: int | None = None,
) -> Response:
    """The reply with so many values, of a seed where one made them."""
    reply, name = x.format(options.format, ARRAY_REPLIES), model.manifest.full_name
    size = values * reply.value_bytes
    x.hold_reply("n" if options.grid is None else "grid", size)
    headers = {"X-Model": name} | ({} if seed is None else {"X-Seed": str(seed)})
    bodiless = x.without_body(headers, options, model, reply, repeatable=seed == options.seed)
    if bodiless is not None:
        return bodiless
    return await x.reply(size, reply, lambda: reply.encode(Encoding(latents()), name), headers)


def examples(model: Model) -> dict[str, Json]:
    name = model.manifest.name
    return {name: {"model": name, "seed": 7, "n": 2}}


ENDPOINT = Endpoint(
    answer,
    reads=(JSON,),
    options=LatentsRequest,
    replies=ARRAY_REPLIES,
    summary="Latents of a seed",
    description="Float32 [n, *latent], those that `/sample` decodes for the same options; with "
    "`grid`, those of `/manifold`, row by row.",
    examples=examples,
    headers={"X-Seed": "The seed, also where the server drew it."},
)
