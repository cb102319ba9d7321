"""Images on the way from one latent to another."""

from typing import Literal

from pydantic import Field
from starlette.responses import Response

from bento.endpoints import Endpoint, Json, some_condition
from bento.exchange.bodies import JSON
from bento.exchange.exchange import Exchange
from bento.exchange.replies import PICTURE_REPLIES
from bento.exchange.schemas import (
    Count,
    Numbers,
    PictureOptions,
    PromptOptions,
    Seed,
    Seeds,
    Truncation,
)
from runtime import InputError, Interpolate, Model
from runtime.requests.request import graph_of


class InterpolateOptions(PictureOptions, PromptOptions):
    """Images on the way between two seeds."""

    seeds: Seeds | None = Field(
        default=None, min_length=2, max_length=2, description="From image 0 of one to the other's."
    )
    steps: Count = Field(default=8, ge=2, description="Images, both ends included.")
    kind: Literal["slerp", "lerp"] = Field(
        default="slerp", description="Along the arc between the two latents, or the straight line."
    )
    seed: Seed | None = Field(
        default=None, description="Of the network's noise, which all images are given; 0 without."
    )
    truncation: Truncation | None = Field(
        default=None, description="With `seeds`, and for networks that take a truncation."
    )


class InterpolateRequest(InterpolateOptions):
    """Images on the way between two seeds or two latents."""

    a: Numbers | None = Field(default=None, description="One latent, instead of `seeds`.")
    b: Numbers | None = Field(default=None, description="The other latent.")


async def answer(x: Exchange) -> Response:
    options = await x.options(InterpolateRequest)
    model = x.model(options.model)
    latents = [latent for latent in (options.a, options.b) if latent is not None]
    if len(latents) != (2 if options.seeds is None else 0):
        found = f"{len(latents)} latents" + (" and seeds" if options.seeds else "")
        raise InputError("seeds", "two seeds, or two latents a and b", found)
    takes_truncation = graph_of(model.manifest, "decode").input("truncation") is not None
    if options.seeds is not None:
        a, b = model.latents(seeds=options.seeds, truncation=options.truncation)
    elif options.truncation is not None and not takes_truncation:
        raise InputError("truncation", "none: a and b are given", str(options.truncation))
    else:
        a, b = latents
    given = options.truncation if takes_truncation else None
    seed = options.seed or 0
    request = Interpolate(
        a, b, options.steps, options.kind, options.labels, seed, given, options.prompt
    )
    job = request.job(model)
    if options.columns is None:
        options = options.model_copy(update={"columns": options.steps})
    reply = await x.picture_reply(options, model, job, "steps")
    return await x.pictures(model, job, reply, options)


def examples(model: Model) -> dict[str, Json]:
    if model.manifest.prior == "none":
        return {}
    name = model.manifest.name
    return {name: {"model": name, "seeds": [1, 2], "steps": 8} | some_condition(model)}


ENDPOINT = Endpoint(
    answer,
    reads=(JSON,),
    options=InterpolateOptions,
    json=InterpolateRequest,
    replies=PICTURE_REPLIES,
    summary="Images on the way from one latent to another",
    description="Between image 0 of two seeds, or between two latents, which only a JSON body "
    "holds.",
    examples=examples,
)
