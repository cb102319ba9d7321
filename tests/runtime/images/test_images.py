"""The one crop, resize and range: training and serving must see the same pixels."""

import io

import numpy as np
import pytest
from PIL import Image, ImageOps

from runtime import ImageSpec, InputError
from runtime.images import fit, open_image, to_float, to_uint8

GREY = ImageSpec(height=8, width=8, channels=1)
RGB = ImageSpec(height=8, width=8, channels=3)


@pytest.mark.parametrize("low_high", [(-1.0, 1.0), (0.0, 1.0), (0.0, 255.0), (-2.5, 7.0)])
def test_every_level_survives_the_round_trip(low_high: tuple[float, float]) -> None:
    spec = ImageSpec(height=16, width=16, channels=1, value_range=low_high)
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16, 1)
    floats = to_float(levels, spec)
    assert floats.dtype == np.float32
    assert (floats.min(), floats.max()) == pytest.approx(low_high, abs=1e-5)
    np.testing.assert_array_equal(to_uint8(floats, spec), levels)


def test_to_uint8_clamps_and_rounds_half_to_even() -> None:
    spec = ImageSpec(height=1, width=5, channels=1, value_range=(0.0, 255.0))
    floats = np.array([-3.0, 0.5, 1.5, 254.6, 300.0], np.float32)
    assert to_uint8(floats, spec).tolist() == [0, 0, 2, 255, 255]


def test_an_exact_picture_is_left_alone() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    np.testing.assert_array_equal(fit(Image.fromarray(pixels), RGB), pixels)


def test_small_pictures_are_fitted_as_by_pillow() -> None:
    generator = np.random.default_rng(0)
    for _ in range(50):
        width, height, *size = (int(n) for n in generator.integers(8, 60, 4))
        picture = Image.fromarray(generator.integers(0, 256, (height, width, 3), dtype=np.uint8))
        spec = ImageSpec(height=size[0], width=size[1], channels=3)
        shrinks = width >= size[1] and height >= size[0]
        method = Image.Resampling.BOX if shrinks else Image.Resampling.LANCZOS
        expected = np.asarray(ImageOps.fit(picture, (size[1], size[0]), method))
        np.testing.assert_array_equal(fit(picture, spec), expected)


def test_a_picture_of_one_row_is_fitted() -> None:
    wide = Image.new("RGBA", (1_000_000, 1), (9, 9, 9, 255))
    assert (fit(wide, GREY) == 9).all()
    assert (fit(wide.transpose(Image.Transpose.ROTATE_90), GREY) == 9).all()


def test_the_centre_is_kept() -> None:
    wide = np.zeros((8, 24, 3), np.uint8)
    wide[:, 8:16] = 200
    assert (fit(Image.fromarray(wide), RGB) == 200).all()
    tall = wide.transpose(1, 0, 2).copy()
    assert (fit(Image.fromarray(tall), RGB) == 200).all()


def test_shrinking_averages() -> None:
    checks = np.indices((16, 16)).sum(0) % 2 * 255
    shrunk = fit(Image.fromarray(checks.astype(np.uint8)), GREY)
    # The mean of two black and two white pixels is 127.5, one way or the other of rounding.
    assert set(np.unique(shrunk)) <= {127, 128}


def test_transparency_is_black() -> None:
    clear = Image.new("RGBA", (8, 8), (255, 255, 255, 0))
    assert fit(clear, RGB).max() == 0
    assert fit(clear.convert("LA"), GREY).max() == 0


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_turns_the_picture(orientation: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (6, 10, 3), dtype=np.uint8)
    picture = Image.fromarray(pixels)
    exif = picture.getexif()
    exif[0x0112] = orientation
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", exif=exif)
    opened = open_image(buffer.getvalue())
    expected = np.asarray(ImageOps.exif_transpose(opened))
    spec = ImageSpec(height=expected.shape[0], width=expected.shape[1], channels=3)
    np.testing.assert_array_equal(fit(opened, spec), expected)


@pytest.mark.filterwarnings("ignore:.*:UserWarning")  # Pillow's, about the damage
def test_a_damaged_exif_block_is_no_reason_to_refuse_the_picture() -> None:
    picture = Image.fromarray(np.full((8, 8, 3), 90, np.uint8))
    exif = picture.getexif()
    exif[0x0112] = 3
    exif[0x010E] = "a description"
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", exif=exif)
    whole = buffer.getvalue()
    start = whole.index(b"Exif")
    generator = np.random.default_rng(0)
    for _ in range(2000):
        damaged = bytearray(whole)
        for position in generator.integers(start, start + 60, 3):
            damaged[position] = generator.integers(256)
        try:
            pixels = fit(open_image(bytes(damaged)), RGB)
        except InputError:
            continue
        assert np.abs(pixels.astype(int) - 90).max() <= 3


@pytest.mark.parametrize("bad", [{"channels": 5}, {"height": 0}, {"value_range": (1.0, 1.0)}])
def test_bad_specs(bad: dict) -> None:
    with pytest.raises(ValueError, match=next(iter(bad))):
        ImageSpec.model_validate({"height": 8, "width": 8, "channels": 3} | bad)
