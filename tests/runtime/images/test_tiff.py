"""Every kind of TIFF that Pillow opens: the ramp that was written, or a refusal."""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from PIL.TiffImagePlugin import OPEN_INFO

from runtime import ImageSpec, InputError
from runtime.images import fit, open_image
from tests.pictures import numbers_tiff, tiff

RAMP = (0.0, 0.25, 0.5, 1.0)
WHITE_IS_ZERO, BLACK_IS_ZERO, PALETTE, CMYK, YCBCR, LAB = 0, 1, 3, 5, 6, 8
RAW, DEFLATE = 1, 8
SAMPLES = {WHITE_IS_ZERO: 1, BLACK_IS_ZERO: 1, PALETTE: 1, CMYK: 4}
FLIPPED = bytes(int(format(byte, "08b")[::-1], 2) for byte in range(256))


@dataclass(frozen=True)
class Kind:
    """One row of Pillow's table: what the tags of a TIFF say."""

    order: str
    photometric: int
    sample_format: int
    fill_order: int
    bits: tuple[int, ...]
    extra: tuple[int, ...]

    @property
    def top(self) -> int:
        """The largest number of a sample."""
        return 1 if self.sample_format == 3 else 2 ** (self.bits[0] - (self.sample_format == 2)) - 1

    def pixel(self, shade: float) -> list[float]:
        """The samples of a neutral pixel, opaque."""
        level = shade * self.top
        if self.photometric in (WHITE_IS_ZERO, CMYK):
            level = self.top - level
        if self.photometric == CMYK:
            colours = [0.0, 0.0, 0.0, level]
        elif self.photometric == LAB:
            colours = [level, 0.0, 0.0]
        elif self.photometric == YCBCR and len(self.bits) == 3:
            colours = [level, 128.0, 128.0]
        else:
            colours = [level] * min(SAMPLES.get(self.photometric, 3), len(self.bits))
        return colours + [float(self.top)] * (len(self.bits) - len(colours))

    def packed(self, samples: Sequence[float]) -> bytes:
        if self.bits[0] >= 16:
            letter = {1: "u", 2: "i", 3: "f"}[self.sample_format]
            return np.array(samples).astype(f"{self.order}{letter}{self.bits[0] // 8}").tobytes()
        width = self.bits[0]
        text = "".join(format(int(sample), f"0{width}b") for sample in samples)
        return bytes(int(text[at : at + 8].ljust(8, "0"), 2) for at in range(0, len(text), 8))

    def file(self, compression: int, in_planes: bool) -> bytes:
        pixels = [self.pixel(shade) for shade in RAMP]
        rows = zip(*pixels, strict=True) if in_planes else [[n for p in pixels for n in p]]
        strips = [self.packed(list(row)) for row in rows]
        if compression == DEFLATE:
            strips = [zlib.compress(strip) for strip in strips]
        if self.fill_order == 2:
            strips = [strip.translate(FLIPPED) for strip in strips]
        starts = np.cumsum([8, *(len(strip) for strip in strips)])[:-1].tolist()
        tags: dict[int, tuple[int, Sequence[Any]]] = {
            259: (3, [compression]),
            266: (3, [self.fill_order]),
            273: (4, starts),
            279: (4, [len(strip) for strip in strips]),
            284: (3, [2 if in_planes else 1]),
        }
        if self.extra:
            tags[338] = (3, self.extra)
        if self.photometric == PALETTE:
            tags[320] = (3, [round(i * 65535 / self.top) for i in range(self.top + 1)] * 3)
        if self.photometric == YCBCR:
            tags[530] = (3, [1, 1])
        return tiff(
            b"".join(strips),
            len(RAMP),
            bits=self.bits,
            photometric=self.photometric,
            sample_format=self.sample_format,
            order=self.order,
            tags=tags,
        )


KINDS = [
    Kind("<" if order == b"II" else ">", photometric, formats[0], fill, bits, extra)
    for order, photometric, formats, fill, bits, extra in OPEN_INFO
]


@pytest.mark.parametrize(
    ("compression", "in_planes", "least"),
    [(RAW, False, 0.8), (DEFLATE, False, 0.8), (RAW, True, 0.15), (DEFLATE, True, 0.5)],
)
def test_every_kind_gives_its_ramp_or_is_refused(
    compression: int, in_planes: bool, least: float
) -> None:
    # Lightness of LAB is not linear in sRGB.
    expected = {LAB: np.array([0, 59, 119, 255])}
    read = 0
    kinds = [kind for kind in KINDS if not in_planes or len(kind.bits) > 1]
    for kind in kinds:
        try:
            picture = open_image(kind.file(compression, in_planes))
            found = fit(picture, ImageSpec(height=1, width=len(RAMP), channels=1)).ravel()
        except InputError:
            continue
        read += 1
        # A sample of few bits has few levels.
        tolerance = 3 if kind.bits[0] >= 8 else 255 / kind.top + 1
        ramp = expected.get(kind.photometric, np.array(RAMP) * 255)
        assert np.abs(found - ramp).max() <= tolerance, kind
    # The others are those that Pillow reads wrongly or not at all.
    assert read >= least * len(kinds)


@pytest.mark.parametrize("dtype", ["<i2", ">i2", "<i4", ">i4", "<f4", ">f4", "<u2", ">u2"])
def test_compressed_numbers_have_the_files_order_of_bytes(dtype: str) -> None:
    top = {"i2": 2**15 - 1, "i4": 2**31 - 1, "f4": 1, "u2": 2**16 - 1}[dtype[1:]]
    numbers = (np.array(RAMP) * top).astype(dtype)
    packed = zlib.compress(numbers.tobytes())
    plain = numbers_tiff(numbers.tolist(), dtype)
    compressed = tiff(
        packed,
        len(RAMP),
        bits=8 * numbers.itemsize,
        sample_format={"u": 1, "i": 2, "f": 3}[dtype[1]],
        order=dtype[0],
        tags={259: (3, [DEFLATE])},
    )
    spec = ImageSpec(height=1, width=len(RAMP), channels=1)
    for data in (plain, compressed):
        found = fit(open_image(data), spec).ravel()
        assert np.abs(found - np.array(RAMP) * 255).max() <= 1


def test_planes_that_pillow_mixes_up_are_refused() -> None:
    kind = Kind("<", 2, 1, 1, (16, 16, 16), ())
    assert fit(open_image(kind.file(RAW, False)), ImageSpec(height=1, width=4, channels=3)).any()
    with pytest.raises(InputError, match="samples of one pixel lie together, found RGB in planes"):
        open_image(kind.file(RAW, True))
