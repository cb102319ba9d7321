"""Images one after another in one file: GIF, and animated WebP."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from PIL import Image

from runtime.images import UInt8Array, to_picture
from runtime.images.encoding import over_black
from runtime.images.layout import Layout
from runtime.images.volumes import as_picture


@dataclass(frozen=True)
class Animation:
    """A format of animations: its media type, the pixels that it allows along one side, Pillow's
    name for it, and Pillow's options. `paletted`: a frame has 256 colours and no half transparent
    ones, so that colours are chosen, and pictures are laid over black."""

    media_type: str
    max_side: int
    writer: str
    options: Mapping[str, Any]
    paletted: bool = False


ANIMATIONS: Mapping[str, Animation] = {
    "gif": Animation("image/gif", 65535, "GIF", {}, paletted=True),
    "animated-webp": Animation(
        "image/webp", 16383, "WEBP", {"lossless": True, "quality": 20, "method": 0}
    ),
}
"""All that a format needs. GIF has the colours of grey images, and loses some of others; WebP is
lossless here."""


def encode_animation(
    images: Sequence[UInt8Array] | UInt8Array, animation: str, layout: Layout | None = None
) -> bytes:
    """Images [n, H, W, C] of one size, or the pictures of volumes, as an animation that repeats for
    ever. The same images give the same bytes."""
    kind, layout = ANIMATIONS[animation], layout or Layout()
    pictures = [_frame(as_picture(image), kind, layout.scale) for image in images]
    first, *others = [pictures[i] for i in layout.frames(len(pictures))]
    buffer = io.BytesIO()
    first.save(
        buffer,
        kind.writer,
        save_all=True,
        append_images=others,
        duration=_milliseconds(kind, layout.fps),
        loop=0,
        **kind.options,
    )
    return buffer.getvalue()


def _frame(image: UInt8Array, kind: Animation, scale: int) -> Image.Image:
    picture = to_picture(image)
    if kind.paletted:
        picture = over_black(picture)
        if picture.mode == "RGB":  # before it is enlarged: so each pixel has one colour
            picture = picture.quantize(256, Image.Quantize.MEDIANCUT)
    height, width = image.shape[:2]
    return picture.resize((width * scale, height * scale), Image.Resampling.NEAREST)


def _milliseconds(kind: Animation, fps: int) -> int:
    """How long a frame is shown. GIF counts in hundredths of a second."""
    return 10 * round(100 / fps) if kind.paletted else round(1000 / fps)
