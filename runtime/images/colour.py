"""Any mode of Pillow's, any transparency and any ICC profile -> grey or RGB in sRGB, over black or
with its alpha."""

import io
import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, cast

import numpy as np
from PIL import Image, ImageChops, ImageCms

from runtime.images.levels import Levels, levels_of

logger = logging.getLogger(__name__)

_SIMPLER = {
    "1": "L",
    "La": "LA",
    "P": "RGB",
    "PA": "RGBA",
    "RGBa": "RGBA",
    "RGBX": "RGB",
    "YCbCr": "RGB",
    "HSV": "RGB",
}
"""Modes that Pillow turns into simpler ones without loss that matters."""

_MAX_PROFILE_BYTES = 4 << 20
"""Larger profiles are ignored: no device has one, and each is kept in a cache."""

_SAME_LEVELS = 2
"""A profile that moves no colour by more is sRGB, and the pixels stay as they are."""


@dataclass(frozen=True)
class Colours:
    """How the pixels of one picture become grey or RGB; the same for every part of it."""

    levels: Levels | None
    is_keyed: bool
    profile: bytes | None

    @classmethod
    def of(cls, image: Image.Image) -> "Colours":
        """From a decoded picture."""
        profile: Any = image.info.get("icc_profile")
        if isinstance(profile, bytes) and len(profile) <= _MAX_PROFILE_BYTES:
            return cls(levels_of(image), _is_keyed(image), profile)
        return cls(levels_of(image), _is_keyed(image), None)

    def are_flat(self, image: Image.Image, mode: str) -> bool:
        """Whether the pixels are in `mode` as they are."""
        if image.mode != mode or self.levels is not None or self.is_keyed:
            return False
        return self.profile is None or _conversion(self.profile, mode) is None

    def flat(self, image: Image.Image, mode: str) -> Image.Image:
        """The picture, or a part of it, in `mode`: "L" or "RGB", laid over black; "LA" or "RGBA",
        with its transparency."""
        image = image if self.levels is None else self.levels.grey(image)
        if self.levels is None and self.is_keyed:
            image = image.convert("LA" if image.mode in ("1", "L") else "RGBA")
        elif image.mode in _SIMPLER:
            image = _opaque(image).convert(_SIMPLER[image.mode])
        alpha = image.getchannel("A") if image.mode in ("LA", "RGBA") else None
        if alpha is not None:
            image = image.convert("L" if image.mode == "LA" else "RGB")
        image = self._in_srgb(image)
        if mode in ("LA", "RGBA"):
            image = image if image.mode == mode[:-1] else _opaque(image).convert(mode[:-1])
            image.putalpha(Image.new("L", image.size, 255) if alpha is None else alpha)
            return image
        if alpha is not None:
            over = alpha if image.mode == "L" else Image.merge("RGB", (alpha,) * 3)
            image = ImageChops.multiply(image, over)
        return image if image.mode == mode else _opaque(image).convert(mode)

    def _in_srgb(self, image: Image.Image) -> Image.Image:
        convert = None if self.profile is None else _conversion(self.profile, image.mode)
        if convert is not None:
            return convert(image)
        # Without a profile, CMYK is converted by formula, and LAB is the standard one.
        return image.convert("RGB") if image.mode in ("CMYK", "LAB") else image


def _is_keyed(image: Image.Image) -> bool:
    """Whether one colour of the picture, or some of its palette's, are transparent."""
    key: Any = image.info.get("transparency")
    if image.mode == "P":
        has_alpha = image.palette is not None and image.palette.mode.endswith("A")
        return has_alpha or isinstance(key, bytes) or (isinstance(key, int) and 0 <= key < 256)
    if image.mode == "RGB":
        return isinstance(key, tuple) and len(cast(Any, key)) == 3
    return image.mode in ("1", "L") and isinstance(key, int)


def _opaque(image: Image.Image) -> Image.Image:
    """The same pixels without a transparent colour, which Pillow would convert along with them."""
    if "transparency" in image.info:
        image = image.copy()
        del image.info["transparency"]
    return image


_Conversion = Callable[[Image.Image], Image.Image]


@lru_cache(maxsize=8)
def _conversion(profile: bytes, mode: str) -> _Conversion | None:
    """From the colours of an ICC profile to sRGB; None where nothing is to be done: the profile is
    sRGB, damaged, or of another kind of picture."""
    try:
        source: Any = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        space: str = source.profile.xcolor_space.strip()
        if mode == "L" and space in ("GRAY", "RGB"):
            return _grey_conversion(source, "L" if space == "GRAY" else "RGB")
        if mode != space:
            return None
        transform = _to_srgb(source, mode)
        if mode == "RGB" and _is_same(transform.apply(_some_colours()), _some_colours()):
            return None
        return transform.apply
    except Exception as error:
        logger.debug("an ICC profile is ignored: %s", error)
        return None


def _grey_conversion(source: ImageCms.ImageCmsProfile, mode: str) -> _Conversion | None:
    # A grey picture has 256 colours, whether its profile is of grey or of RGB.
    ramp = Image.frombytes("L", (256, 1), bytes(range(256)))
    made = _to_srgb(source, mode).apply(ramp.convert(mode)).convert("L")
    if _is_same(made, ramp):
        return None
    table = list(made.tobytes())
    return lambda image: image.point(table)


def _to_srgb(source: ImageCms.ImageCmsProfile, mode: str) -> ImageCms.ImageCmsTransform:
    srgb = cast(Any, ImageCms).createProfile("sRGB")
    return ImageCms.ImageCmsTransform(source, ImageCms.ImageCmsProfile(srgb), mode, "RGB")


def _some_colours() -> Image.Image:
    levels = np.linspace(0, 255, 9).round().astype(np.uint8)
    grid = np.stack(np.meshgrid(levels, levels, levels, indexing="ij"), axis=-1)
    return Image.fromarray(grid.reshape(27, 27, 3))


def _is_same(a: Image.Image, b: Image.Image) -> bool:
    return bool(np.abs(np.asarray(a, np.int16) - np.asarray(b, np.int16)).max() <= _SAME_LEVELS)
