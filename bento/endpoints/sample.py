"""Images of a seed."""

import secrets
from typing import Any

from pydantic import Field
from starlette.responses import Response

from bento.endpoints import Endpoint, Json
from bento.exchange.bodies import JSON, in_thread
from bento.exchange.exchange import Exchange, with_labels, with_prompts
from bento.exchange.replies import PICTURE_REPLIES
from bento.exchange.schemas import PromptOptions, Seed, Seeds, SizedOptions, Truncation
from runtime import Model, Sample
from runtime.requests.checks import MAX_COUNT
from runtime.requests.sample import MAX_LAYERS, count_of
from runtime.sampling.streams import MAX_SEED

# As many seeds as fit comfortably into a header.
_MAX_SEEDS_IN_HEADER = 256
_ENTRY_BYTES = 256
"""Of a list of seeds, labels or prompts, by what it takes to check one."""


class SampleRequest(SizedOptions, PromptOptions):
    """Images `offset` .. `offset + n - 1` of one seed, or image 0 of each of `seeds`."""

    n: int | None = Field(
        default=None,
        ge=1,
        le=MAX_COUNT,
        description="How many images; without it one, or one for each of several labels or "
        "prompts.",
    )
    seed: Seed | None = Field(
        default=None, description="Without it the server draws one, and says it in `X-Seed`."
    )
    offset: int = Field(default=0, ge=0, lt=MAX_SEED, description="The first image's index.")
    seeds: Seeds | None = Field(
        default=None, min_length=1, description="Instead of `n`, `seed` and `offset`."
    )
    truncation: Truncation | None = Field(
        default=None,
        description="Draw latents from [-t, t] only; or what a network that takes one is given.",
    )
    mix_seed: Seed | None = Field(
        default=None, description="Whose styles to mix in, for networks with a style a layer."
    )
    mix_layer: int | None = Field(
        default=None, ge=0, le=MAX_LAYERS, description="From this layer of the network on."
    )


async def answer(x: Exchange) -> Response:
    options = await x.options(SampleRequest)
    model = x.model(options.model)
    n, seed = options.n, options.seed
    repeatable = seed is not None or options.seeds is not None
    if options.seeds is None:
        n = count_of(options.labels, options.prompt) if n is None else n
        seed = secrets.randbelow(MAX_SEED) if seed is None else seed
    x.call.seed = seed
    request = Sample(
        n,
        seed,
        options.offset,
        options.seeds,
        options.labels,
        options.truncation,
        options.size,
        options.mix_seed,
        options.mix_layer,
        options.prompt,
    )
    given: tuple[Any, ...] = options.seeds, options.labels, options.prompt
    many = sum(len(each) for each in given if not isinstance(each, str | int | None))
    job = await in_thread(_ENTRY_BYTES * many, request.job, model)
    reply = await x.picture_reply(options, model, job, "n" if options.seeds is None else "seeds")
    shown = options.seeds or [seed]
    headers: dict[str, str] = {}
    if len(shown) <= _MAX_SEEDS_IN_HEADER:
        headers["X-Seed"] = ",".join(map(str, shown))

    def origins() -> list[dict[str, Any]]:
        numbers = (array.tolist() for array in request.counter.numbers())
        made = [{"seed": s, "index": i} for s, i in zip(*numbers, strict=True)]
        made = with_prompts(made, request.chosen_prompts(model.manifest))
        return with_labels(made, model, request.chosen_labels(model.manifest))

    return await x.pictures(model, job, reply, options, origins, headers, repeatable)


def examples(model: Model) -> dict[str, Json]:
    name, labels = model.manifest.name, model.manifest.labels
    found: dict[str, Json] = {
        f"{name}, a sheet": {"model": name, "n": 16, "seed": 7, "format": "png"},
        f"{name}, one seed each": {"model": name, "seeds": [3, 1, 4], "format": "zip"},
    }
    if labels is not None:
        found[f"{name}, by label"] = {"model": name, "labels": labels[-1], "n": 8, "seed": 7}
    if (words := model.manifest.vocabulary) is not None:
        example = {"model": name, "prompt": words.examples[0], "n": 8, "seed": 7}
        found[f"{name}, by a prompt"] = example
    return found


ENDPOINT = Endpoint(
    answer,
    reads=(JSON,),
    options=SampleRequest,
    replies=PICTURE_REPLIES,
    summary="Sample images",
    description="Images of a seed, drawn anew, or once more by the `X-Seed` of an earlier reply.",
    examples=examples,
    headers={"X-Seed": "The seed, also where the server drew it; or the seeds."},
)
