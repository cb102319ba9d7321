"""The posterior of pictures, or a draw from it."""

from typing import Annotated

from pydantic import Field
from starlette.responses import Response

from bento.endpoints import Endpoint, Json, upload_example
from bento.exchange.exchange import Exchange
from bento.exchange.replies import ARRAY_REPLIES
from bento.exchange.schemas import OneOf, Options, Seed, SizePair, Tile
from bento.exchange.uploads import UPLOADS
from runtime import Encode, Model
from runtime.requests.encode import takes_noise


class EncodeOptions(Options):
    """What is returned of the posterior."""

    size: SizePair | None = Field(
        default=None,
        description="[height, width] to which pictures are brought; that of the first without.",
    )
    seed: Seed | None = Field(
        default=None,
        description="Draw a latent of each posterior, with its log density, instead of its mean "
        "and log variance. Models whose encoder takes noise need it; those whose encoder has no "
        "variance refuse it.",
    )
    tile: Tile | None = None
    format: Annotated[str, OneOf(tuple(ARRAY_REPLIES))] | None = Field(
        default=None,
        description="Wins over the Accept header; `json` without either. `npy` holds the means, "
        "`npz` the arrays `mean` and `log_variance`; with a `seed` the latents, and the arrays "
        "`latents` and `log_density`. An encoder without a posterior gives `latents`, and `codes` "
        "where it has a codebook.",
    )


async def answer(x: Exchange) -> Response:
    options, upload = await x.upload(EncodeOptions)
    model = x.model(options.model)
    canvas = await upload.canvas(model.manifest, "encode", options.size, options.tile)
    job = Encode(canvas.images, options.labels, options.seed, tile=options.tile).job(model)
    x.check_count("images", job.count)
    reply = x.format(options.format, ARRAY_REPLIES)
    latent = model.manifest.latent
    values = job.count * (0 if latent is None else latent.values(job.size))
    size = values * reply.value_bytes
    x.hold_reply("images", size)
    await canvas.fill()
    x.call.images, x.call.seed = job.count, options.seed
    encoded, name = await x.run(model, job), model.manifest.full_name
    return await x.reply(size, reply, lambda: reply.encode(encoded, name), {"X-Model": name})


def examples(model: Model) -> dict[str, Json]:
    seed = {"seed": 7} if takes_noise(model.manifest) else {}
    return upload_example(model, format="npz", **seed)


ENDPOINT = Endpoint(
    answer,
    reads=UPLOADS,
    options=EncodeOptions,
    replies=ARRAY_REPLIES,
    summary="Encode pictures",
    description="The posterior's mean and log variance; with a `seed` one latent drawn from each "
    "posterior, the same for the same seed, picture and number, and its log density.",
    examples=examples,
)
