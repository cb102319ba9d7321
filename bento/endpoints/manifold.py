"""A grid of images over a 2-D latent space."""

from pydantic import Field
from starlette.responses import Response

from bento.endpoints import Endpoint, Json, some_condition
from bento.exchange.bodies import JSON, in_thread
from bento.exchange.exchange import Exchange
from bento.exchange.replies import PICTURE_REPLIES
from bento.exchange.schemas import PictureOptions, PromptOptions, Seed
from runtime import Model
from runtime.requests.manifold import MAX_STEPS, Manifold

_PLACE_BYTES = 16
"""Of one place of the grid, in float64."""


class ManifoldRequest(PictureOptions, PromptOptions):
    """A grid over a 2-D latent space."""

    steps: int = Field(
        default=20, ge=1, le=MAX_STEPS, description="Images along each side of the grid."
    )
    seed: Seed | None = Field(default=None, description="Of the network's noise; 0 without.")


async def answer(x: Exchange) -> Response:
    options = await x.options(ManifoldRequest)
    model = x.model(options.model)
    request = Manifold(options.steps, options.labels, options.seed or 0, options.prompt)
    job = await in_thread(_PLACE_BYTES * options.steps**2, request.job, model)
    if options.columns is None:
        options = options.model_copy(update={"columns": options.steps})
    reply = await x.picture_reply(options, model, job, "steps")
    return await x.pictures(model, job, reply, options)


def examples(model: Model) -> dict[str, Json]:
    name = model.manifest.name
    return {name: {"model": name, "steps": 8} | some_condition(model)}


ENDPOINT = Endpoint(
    answer,
    reads=(JSON,),
    options=ManifoldRequest,
    replies=PICTURE_REPLIES,
    summary="A grid over a 2-D latent space",
    description="Equal steps in the prior's probability along both axes.",
    examples=examples,
)
