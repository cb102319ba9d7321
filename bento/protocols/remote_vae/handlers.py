"""The endpoints that diffusers' remote VAE asks."""

import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from bento.endpoints import Endpoint, Json
from bento.exchange.bodies import BYTES, in_thread
from bento.exchange.exchange import Exchange
from bento.exchange.replies import PICTURE_REPLIES, PlainReply, Reply
from bento.exchange.schemas import Seed, Tile
from bento.exchange.uploads import Opener, Upload
from bento.protocols import Protocol
from bento.protocols.remote_vae.tensors import (
    ITEM_BYTES,
    Dtype,
    check_shape,
    read_tensor,
    write_tensor,
)
from runtime import Decode, Encode, InputError, Manifest, Model
from runtime.batching.jobs import AUTOMATIC
from runtime.images import Float32Array, UInt8Array
from runtime.images.encoding import encode_image
from runtime.requests.checks import check_size
from runtime.requests.pictures import image_shape
from runtime.requests.request import graph_of

TENSOR = "tensor/binary"
_TENSOR_REPLY = PlainReply("tensor", TENSOR)
_FORMATS = {"jpg": "jpeg", "png": "png"}
"""This protocol's names of picture formats, and ours."""
_HEADERS = {
    "shape": "That of a tensor, as JSON.",
    "dtype": "That of a tensor: float16, float32, bfloat16 or uint8.",
}


_Length = Annotated[int, Field(ge=1, le=1 << 31)]


class _Scaled(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    dtype: Dtype = "float32"
    scaling_factor: float | None = Field(
        default=None, gt=0, description="That of the latents; without it they are not scaled."
    )
    shift_factor: float | None = Field(default=None, description="That of the latents.")
    tile: Tile | None = None


class RemoteDecodeOptions(_Scaled):
    """Latents, and what is to be made of them."""

    shape: list[_Length] = Field(
        max_length=8,
        description="Of the body: [n, *latent], or where they are packed (FLUX) [n, h * w / 4, "
        "4 * channels], h and w being the height and width of the latents.",
    )
    do_scaling: bool | None = Field(
        default=None, description="True: the latents are scaled by the model's own factor."
    )
    output_type: Literal["pil", "pt"] = Field(
        default="pil", description="A picture of one latent, or a tensor."
    )
    image_format: Literal["jpg", "png"] = "jpg"
    partial_postprocess: bool = Field(
        default=False,
        description="Of a tensor: uint8 [n, H, W, C]; without it floats [n, C, H, W] in [-1, 1], "
        "which are the grey levels of the images.",
    )
    height: int | None = Field(default=None, description="Of the images, with packed latents.")
    width: int | None = Field(default=None, description="Of the images, with packed latents.")


class RemoteEncodeOptions(_Scaled):
    """Images, and what is wanted of their latents."""

    shape: list[_Length] | None = Field(
        default=None,
        max_length=8,
        description="Of a body that is a tensor: [n, C, H, W], uint8, or floats in [0, 1], or in "
        "[-1, 1] where one is below 0. Without it the body is a picture file.",
    )
    seed: Seed | None = Field(
        default=None, description="Draw from the posterior instead of giving its mean."
    )


async def decode(x: Exchange) -> Response:
    options = x.query(RemoteDecodeOptions, repeated=("shape",))
    model, shape, size = _model(x), options.shape, len(x.body.content)
    check_shape(shape, options.dtype, size)
    x.call.holding.take(12 * size)  # as float32, scaled, and unpacked

    def latents() -> Float32Array:
        given = read_tensor(x.body.content, shape, options.dtype).astype(np.float32, copy=False)
        if len(shape) == 3:
            given = _unpacked(given, model.manifest, options.height, options.width)
        if options.do_scaling and options.scaling_factor is None:
            return given  # by the model's own factor, as the graph takes them
        return _rescaled(given, _asked(options), _own(model.manifest, options))

    job = Decode(await in_thread(size, latents), tile=options.tile).job(model)
    x.check_count("shape", job.count)
    if options.output_type == "pil" and job.count > 1:
        raise InputError("output_type", "pt, for several images", "pil")
    each = 1 if options.partial_postprocess else 4
    x.hold_reply("shape", each * job.count * int(np.prod(image_shape(model.manifest, job))))
    x.call.images = job.count
    images, sent = await x.run(model, job), {"X-Model": model.manifest.full_name}
    if options.output_type == "pil":
        name = _FORMATS[options.image_format]
        kind = PICTURE_REPLIES[name]
        return await x.reply(images.nbytes, kind, lambda: encode_image(images[0], name), sent)
    if options.partial_postprocess:
        return await _tensor(x, images, "uint8", sent)
    dtype = "float32" if options.dtype == "uint8" else options.dtype
    floats = await in_thread(images.nbytes, _floats, images)
    return await _tensor(x, floats, dtype, sent)


async def encode(x: Exchange) -> Response:
    options = x.query(RemoteEncodeOptions, repeated=("shape",))
    model, size = _model(x), len(x.body.content)
    opener = Opener(x.settings, x.opening, x.call.holding, x.call.client)
    if options.shape is None:
        upload = Upload(opener, (("body", x.body.content),))
        canvas = await upload.canvas(model.manifest, "encode", None, AUTOMATIC)
        await canvas.fill()
        images = canvas.images
    else:
        check_shape(options.shape, options.dtype, size)
        x.call.holding.take(12 * size)
        given = read_tensor(x.body.content, options.shape, options.dtype)
        images = await in_thread(size, _levels, given)
    job = Encode(images, seed=options.seed, tile=options.tile).job(model)
    x.check_count("shape", job.count)
    latent = model.manifest.latent
    x.hold_reply("shape", 4 * job.count * (0 if latent is None else latent.values(job.size)))
    x.call.images, x.call.seed = job.count, options.seed
    encoded = await x.run(model, job)
    latents = next(iter(encoded.arrays().values()))
    own, asked = _own(model.manifest, options), _asked(options)
    scaled = await in_thread(latents.nbytes, _rescaled, latents, own, asked)
    tensor = options.shape is not None and options.dtype != "uint8"
    dtype = options.dtype if tensor else "float32"
    return await _tensor(x, scaled, dtype, {"X-Model": model.manifest.full_name})


def _model(x: Exchange) -> Model:
    """The one that the path names."""
    return x.model(x.request.scope["path"].split("/")[2])


async def _tensor(
    x: Exchange, array: NDArray[Any], dtype: Dtype, headers: Mapping[str, str]
) -> Response:
    sent = {**headers, "shape": json.dumps(list(array.shape)), "dtype": dtype}
    size = array.size * ITEM_BYTES[dtype]
    return await x.reply(size, _TENSOR_REPLY, lambda: write_tensor(array, dtype), sent)


Scaling = tuple[Any, Any]
"""Factor and shift, numbers or arrays [C, 1, 1]: scaled latents are (v - shift) * factor."""


def _own(manifest: Manifest, options: _Scaled) -> Scaling:
    """Of the latents that the artifact's graphs take and give. Where these have a mean and a
    deviation for each channel, clients know of the factor alone: one that names it means them."""
    details = manifest.provenance.details
    factor, shift = details.get("scaling_factor") or 1.0, details.get("shift_factor") or 0.0
    mean, std = (details.get(f"latents_{name}") for name in ("mean", "std"))
    if mean is None or std is None or (factor, shift) == _asked(options):
        return factor, shift
    means, deviations = (np.asarray(each, np.float64)[:, None, None] for each in (mean, std))
    return factor / deviations, means


def _asked(options: _Scaled) -> Scaling:
    """Of the latents that the client holds."""
    return options.scaling_factor or 1.0, options.shift_factor or 0.0


def _rescaled(latents: Float32Array, held: Scaling, wanted: Scaling) -> Float32Array:
    if all(map(np.array_equal, held, wanted)):
        return latents
    own = latents.astype(np.float64) / held[0] + held[1]
    return ((own - wanted[1]) * wanted[0]).astype(np.float32)


def _unpacked(
    latents: Float32Array, manifest: Manifest, height: int | None, width: int | None
) -> Float32Array:
    """[n, h/2 * w/2, 4 * c] as [n, c, h, w]: each row holds 2 x 2 values of every channel
    (diffusers' `FluxPipeline._unpack_latents`)."""
    tensor = graph_of(manifest, "decode").input("latents")
    if height is None or width is None:
        raise InputError("height", "height and width of the images, for packed latents", "none")
    size = check_size(manifest, (height, width), tiled=manifest.graphs["decode"].tileable)
    shape = () if tensor is None else tensor.at(size)
    if len(shape) != 3 or shape[1] % 2 or shape[2] % 2:
        raise InputError("shape", f"[n, *{list(shape)}], which are not packed", "three axes")
    channels, h, w = shape
    packed = (len(latents), h // 2 * (w // 2), 4 * channels)
    if latents.shape != packed:
        raise InputError("shape", f"{list(packed)}, packed", str(list(latents.shape)))
    cells = latents.reshape(-1, h // 2, w // 2, channels, 2, 2).transpose(0, 3, 1, 4, 2, 5)
    return np.ascontiguousarray(cells).reshape(-1, channels, h, w)


def _floats(images: UInt8Array) -> Float32Array:
    """[n, C, H, W] in [-1, 1]."""
    return images.transpose(0, 3, 1, 2).astype(np.float32) / np.float32(127.5) - np.float32(1)


def _levels(images: NDArray[Any]) -> UInt8Array:
    """uint8 [n, H, W, C] of a tensor [n, C, H, W]; floats as diffusers' `VaeImageProcessor` takes
    them: in [-1, 1] where one is below 0, else in [0, 1]."""
    if images.ndim != 4:
        raise InputError("shape", "[n, C, H, W]", str(list(images.shape)))
    if images.dtype != np.uint8:
        if not np.isfinite(images).all():
            raise InputError("body", "finite values", "NaN or infinity")
        scaled = images * 127.5 + 127.5 if images.min() < 0 else images * 255.0
        images = np.rint(np.clip(scaled, 0, 255)).astype(np.uint8)
    return np.ascontiguousarray(images.transpose(0, 2, 3, 1))


def _one_latent(model: Model) -> dict[str, Json]:
    """The options of a body that holds one latent."""
    latent, size = model.manifest.latent, model.manifest.default_size
    return {} if latent is None else {model.manifest.name: {"shape": [1, *latent.at(size)]}}


_TENSORS: Mapping[str, Reply] = {"tensor": _TENSOR_REPLY}
_PICTURES: Mapping[str, Reply] = {name: PICTURE_REPLIES[name] for name in _FORMATS.values()}

PROTOCOLS: Mapping[str, Protocol] = {
    "/remote_vae/{model}/decode": Protocol(
        "decode",
        Endpoint(
            decode,
            reads=(TENSOR, BYTES),
            options=RemoteDecodeOptions,
            replies={**_PICTURES, **_TENSORS},
            summary="Decode latents for diffusers' remote_decode",
            description="The body is raw bytes in C order.",
            examples=_one_latent,
            headers=_HEADERS,
        ),
    ),
    "/remote_vae/{model}/encode": Protocol(
        "encode",
        Endpoint(
            encode,
            reads=(TENSOR, BYTES, "image/*", ""),
            options=RemoteEncodeOptions,
            replies=_TENSORS,
            summary="Encode images for diffusers' remote_encode",
            description="The body is raw bytes in C order, or a picture file; its media type may "
            "be missing. The reply is of the type of a float tensor that was sent, else float32.",
            examples=lambda model: {},
            headers=_HEADERS,
        ),
    ),
}
