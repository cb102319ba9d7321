"""How several images are shown: enlarged, on a sheet, one after another."""

import io

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageSequence

from runtime.images.animation import ANIMATIONS, encode_animation
from runtime.images.layout import Layout, enlarged

GENERATOR = np.random.default_rng(0)


def images(count: int, channels: int, levels: int = 256) -> NDArray[np.uint8]:
    return GENERATOR.integers(0, levels, (count, 6, 5, channels), dtype=np.uint8)


def frames(data: bytes, mode: str) -> NDArray[np.uint8]:
    with Image.open(io.BytesIO(data)) as opened:
        shown = [np.asarray(frame.convert(mode)) for frame in ImageSequence.Iterator(opened)]
    array = np.stack(shown)
    return array if array.ndim == 4 else array[..., None]


def test_every_pixel_becomes_a_square() -> None:
    image = images(1, 3)[0]
    large = enlarged(image, 3)
    assert large.shape == (18, 15, 3)
    for y, x in ((0, 0), (5, 4), (2, 3)):
        assert (large[3 * y : 3 * y + 3, 3 * x : 3 * x + 3] == image[y, x]).all()
    assert enlarged(image, 1) is image


def test_a_sheet_is_enlarged_as_a_whole() -> None:
    several = images(6, 1)
    sheet = Layout(columns=3, scale=2).sheet(several)
    assert sheet.shape == (24, 30, 1)
    np.testing.assert_array_equal(sheet[12:, 20:], enlarged(several[5], 2))


@pytest.mark.parametrize("name", ANIMATIONS)
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_an_animation_shows_every_image(name: str, channels: int) -> None:
    given = images(4, channels)
    given[..., -1] |= 255 if channels in (2, 4) else 0  # opaque
    data = encode_animation(given, name, Layout(scale=2))
    mode = "L" if channels < 3 else "RGB"
    shown = frames(data, mode)
    assert shown.shape[:3] == (4, 12, 10)
    expected = enlarged(given[..., : len(mode)], 2)
    # 30 pixels have at most 30 colours, which a palette holds.
    np.testing.assert_array_equal(shown, expected)
    assert data == encode_animation(given, name, Layout(scale=2))


def test_what_is_transparent_lies_over_black_in_a_gif() -> None:
    given = images(2, 4)
    given[..., 3] = 0
    assert (frames(encode_animation(given, "gif"), "RGB") == 0).all()


@pytest.mark.parametrize("name", ANIMATIONS)
@pytest.mark.parametrize(("count", "shown"), [(1, 1), (2, 2), (5, 8)])
def test_there_and_back_repeats_neither_end(name: str, count: int, shown: int) -> None:
    given = images(count, 1)
    found = frames(encode_animation(given, name, Layout(there_and_back=True)), "L")
    assert len(found) == shown
    np.testing.assert_array_equal(found[:count], given)
    np.testing.assert_array_equal(found[count:], given[-2:0:-1])


@pytest.mark.parametrize(("name", "shown"), [("gif", 40), ("animated-webp", 40)])
def test_frames_a_second(name: str, shown: int) -> None:
    with Image.open(io.BytesIO(encode_animation(images(3, 1), name, Layout(fps=25)))) as opened:
        opened.seek(1)
        opened.load()
        assert opened.info["duration"] == shown
        assert opened.info["loop"] == 0
