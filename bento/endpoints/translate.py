"""Images that a network makes of pictures."""

from starlette.responses import Response

from bento.endpoint import Endpoint, Json, upload_example
from bento.exchange import Exchange
from bento.replies import PICTURE_REPLIES
from bento.schemas import NetworkOptions
from bento.uploads import UPLOADS
from runtime import Model
from runtime.requests.translate import Translate


async def answer(x: Exchange) -> Response:
    options, upload = await x.upload(NetworkOptions)
    model = x.model(options.model)
    canvas = await upload.canvas(model.manifest, "translate", options.size, options.tile)
    request = Translate(
        canvas.images,
        canvas.mask,
        options.labels,
        options.seed or 0,
        options.truncation,
        options.tile,
    )
    job = request.job(model)
    x.check_count("images", job.count)
    reply = x.picture_reply(options, model, job, "images")
    await canvas.fill()
    return await x.pictures(model, job, reply, options)


def examples(model: Model) -> dict[str, Json]:
    return upload_example(model, format="png")


ENDPOINT = Endpoint(
    answer,
    reads=UPLOADS,
    options=NetworkOptions,
    replies=PICTURE_REPLIES,
    summary="Translate pictures",
    description="The images that a network makes of pictures; a file field `mask` is white where "
    "the network is to act, for networks that take one.",
    examples=examples,
)
