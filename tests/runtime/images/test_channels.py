"""Images with an alpha channel, in and out."""

import io

import numpy as np
import pytest
from PIL import Image

from runtime.images import ImageSpec, fit, open_image
from runtime.images.encoding import PICTURE_FORMATS, encode_image

_PIXELS = {
    2: np.array([[[200, 0], [200, 255]]], np.uint8),
    4: np.array([[[200, 100, 50, 0], [200, 100, 50, 255]]], np.uint8),
}


@pytest.mark.parametrize("channels", [2, 4])
@pytest.mark.parametrize("name", ["png", "webp"])
def test_alpha_is_written_and_read_again(channels: int, name: str) -> None:
    image = _PIXELS[channels].repeat(4, 0).repeat(4, 1)
    data = encode_image(image, name)
    spec = ImageSpec.model_validate({"height": 4, "width": 8, "channels": channels})
    read = fit(open_image(data), spec)
    assert (read[..., -1] == image[..., -1]).all()
    shown = image[..., -1] > 0  # what is wholly transparent may lose its colour
    assert (read[shown] == image[shown]).all()


@pytest.mark.parametrize("channels", [2, 4])
def test_a_format_without_alpha_is_laid_over_black(channels: int) -> None:
    image = _PIXELS[channels].repeat(8, 0).repeat(8, 1)
    with Image.open(io.BytesIO(encode_image(image, "jpeg"))) as read:
        assert read.mode == {2: "L", 4: "RGB"}[channels]
        values = np.asarray(read).reshape(8, 16, -1).astype(int)
    assert values[2:6, 2:6].max() <= 4
    assert np.abs(values[2:6, 10:14] - image[2:6, 10:14, :-1]).max() <= 6


def test_a_picture_without_alpha_is_opaque() -> None:
    grey = io.BytesIO()
    Image.new("L", (4, 4), 77).save(grey, "png")
    read = fit(open_image(grey.getvalue()), ImageSpec(height=4, width=4, channels=4))
    assert (read == [77, 77, 77, 255]).all()


def test_every_format_says_whether_it_is_opaque() -> None:
    assert {name for name, kind in PICTURE_FORMATS.items() if kind.opaque} == {"jpeg"}
