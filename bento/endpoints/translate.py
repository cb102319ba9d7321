"""Images that a network makes of pictures."""

from collections.abc import Sequence

from starlette.responses import Response

from bento.endpoints import Endpoint, Json, upload_example
from bento.exchange.exchange import Exchange, with_labels
from bento.exchange.replies import PICTURE_REPLIES, Pictures
from bento.exchange.schemas import NetworkOptions
from bento.exchange.uploads import UPLOADS, Canvas, Upload
from runtime import InputError, Model
from runtime.batching.jobs import Job
from runtime.images import UInt8Array
from runtime.requests.checks import SIZE_AXES, Labels, check_labels
from runtime.requests.pictures import image_shape
from runtime.requests.request import graph_of
from runtime.requests.translate import Translate, scale

_SEVERAL_SIZES = {name: PICTURE_REPLIES[name] for name in ("zip", "json")}


async def answer(x: Exchange) -> Response:
    options, upload = await x.upload(NetworkOptions)
    model = x.model(options.model)
    prepared = await prepare(options, model, upload)
    if len(prepared) > 1:
        return await _one_by_one(x, options, model, prepared)
    ((canvas, job),) = prepared
    x.check_count("images", job.count)
    reply = await x.picture_reply(options, model, job, "images")
    await canvas.fill()
    return await x.pictures(model, job, reply, options)


Prepared = tuple[Canvas, Job[UInt8Array]]
"""Where pictures of one size will be opened, and what makes their images."""


async def prepare(options: NetworkOptions, model: Model, upload: Upload) -> list[Prepared]:
    """A job for all pictures of an upload, or one for each where they are of several sizes. Nothing
    is opened but headers."""
    manifest, uploads = model.manifest, [upload]
    if options.size is None:
        uploads = await upload.apart(manifest, "translate")
    several = len(uploads) > 1
    if several:
        check_labels(manifest, options.labels, len(uploads))
    prepared: list[Prepared] = []
    for i, part in enumerate(uploads):
        canvas = await part.canvas(manifest, "translate", options.size, options.tile)
        request = Translate(
            canvas.images,
            canvas.mask,
            _label(options.labels, i) if several else options.labels,
            options.seed or 0,
            options.truncation,
            options.tile,
            offset=i,
        )
        prepared.append((canvas, request.job(model)))
    return prepared


async def _one_by_one(
    x: Exchange, options: NetworkOptions, model: Model, prepared: Sequence[Prepared]
) -> Response:
    """The images of pictures of several sizes, in their order."""
    manifest, count = model.manifest, len(prepared)
    if options.format is not None and options.format not in _SEVERAL_SIZES:
        expected = f"{' or '.join(_SEVERAL_SIZES)} for pictures of several sizes, or one size"
        raise InputError("format", expected, options.format)
    reply = x.format(options.format, _SEVERAL_SIZES)
    x.check_count("files", count)
    shapes = [image_shape(manifest, job) for _, job in prepared]
    x.hold_reply("files", sum(reply.check(options.layout, 1, shape) for shape in shapes))
    images = await translated(x, model, prepared)
    labels = check_labels(manifest, options.labels, count)
    origins = with_labels([{"index": i} for i in range(count)], model, labels)
    made = Pictures(model.manifest.full_name, images, origins)
    size = options.scale**2 * sum(image.nbytes for image in images)
    return await x.reply(
        size,
        reply,
        lambda: reply.encode(made, options.layout),
        {"X-Model": model.manifest.full_name},
    )


async def translated(x: Exchange, model: Model, prepared: Sequence[Prepared]) -> list[UInt8Array]:
    """The images of all pictures."""
    for canvas, _ in prepared:  # all are looked at before any is translated
        await canvas.fill()
    images: list[UInt8Array] = []
    for _, job in prepared:
        images += list(await x.run(model, job))
    x.call.images = len(images)
    return images


def _label(labels: Labels | None, number: int) -> Labels | None:
    """That of one picture: one for all, or one for each."""
    if isinstance(labels, list) and len(labels) > 1:
        return [labels[number]]
    return labels


def about(model: Model) -> str:
    """How large the images are that a model takes and makes."""
    manifest = model.manifest
    given = graph_of(manifest, "translate").input("images")
    sides = () if given is None else zip(SIZE_AXES, given.shape, strict=False)
    size = ", ".join(f"{name} {manifest.axes.get(name, length)}" for name, length in sides)
    return f"{manifest.name}: scale {scale(manifest):g}; {size}."


def examples(model: Model) -> dict[str, Json]:
    return upload_example(model, format="png")


ENDPOINT = Endpoint(
    answer,
    reads=UPLOADS,
    options=NetworkOptions,
    replies=PICTURE_REPLIES,
    summary="Translate pictures",
    description="The images that a network makes of pictures, of their own size times the model's "
    "scale unless a `size` is given; pictures of several sizes give `zip` or `json`. A file field "
    "`mask`, of the pictures' size, is white where the network acts, for those that take one.",
    examples=examples,
    files=("mask",),
    about=about,
)
