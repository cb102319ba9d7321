"""Pictures encoded and decoded again."""

from starlette.responses import Response

from bento.endpoints import Endpoint, Json, some_condition, upload_example
from bento.exchange.exchange import Exchange
from bento.exchange.replies import PICTURE_REPLIES
from bento.exchange.schemas import PromptOptions, SizedOptions
from bento.exchange.uploads import UPLOADS
from runtime import Model, Reconstruct


class ReconstructOptions(SizedOptions, PromptOptions):
    """How encoded pictures are decoded."""


async def answer(x: Exchange) -> Response:
    options, upload = await x.upload(ReconstructOptions)
    model = x.model(options.model)
    canvas = await upload.canvas(model.manifest, "encode", options.size)
    request = Reconstruct(canvas.images, options.labels, options.seed or 0, options.prompt)
    job = request.job(model)
    x.check_count("images", job.count)
    reply = await x.picture_reply(options, model, job, "images")
    await canvas.fill()
    return await x.pictures(model, job, reply, options)


def examples(model: Model) -> dict[str, Json]:
    return upload_example(model, format="png", **some_condition(model))


ENDPOINT = Endpoint(
    answer,
    reads=UPLOADS,
    options=ReconstructOptions,
    replies=PICTURE_REPLIES,
    summary="Encode and decode pictures",
    description="The images of the posterior's mean, or of noise 0 where the encoder takes noise.",
    examples=examples,
)
