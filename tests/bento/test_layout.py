"""How replies show their images: enlarged, in a row, as an animation."""

import base64
import io
import json
import zipfile
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageSequence

from bento.repository.models import Models
from runtime.images import contact_sheet
from runtime.images.layout import enlarged
from tests.bento.support import Ask


def pixels(data: bytes) -> NDArray[np.uint8]:
    """A picture file as uint8 [H, W, C]."""
    array = np.asarray(Image.open(io.BytesIO(data)))
    return array if array.ndim == 3 else array[..., None]


@pytest.mark.parametrize("picture_format", ["png", "webp"])
def test_a_sheet_is_enlarged(ask: Ask, models: Models, picture_format: str) -> None:
    reply = ask("GET", f"/sample?model=tiny-vae&n=6&seed=7&scale=4&format={picture_format}")
    sheet = contact_sheet(models.get("tiny-vae").sample(6, seed=7))
    np.testing.assert_array_equal(pixels(reply.content)[..., :1], enlarged(sheet, 4))
    jpeg = ask("GET", "/sample?model=tiny-vae&n=6&seed=7&scale=4&format=jpeg")
    assert pixels(jpeg.content).shape[:2] == (64, 96)


def test_single_images_are_enlarged(ask: Ask, models: Models) -> None:
    body = {"model": "tiny-plain", "n": 2, "seed": 7, "scale": 3}
    expected = enlarged(models.get("tiny-plain").sample(2, seed=7), 3)
    reply = ask("POST", "/sample", json=body | {"format": "json"}).json()
    found = [pixels(base64.b64decode(entry["png"])) for entry in reply["images"]]
    np.testing.assert_array_equal(found, expected)
    reply = ask("POST", "/sample", json=body | {"format": "zip"})
    with zipfile.ZipFile(io.BytesIO(reply.content)) as archive:
        names = [entry["file"] for entry in json.loads(archive.read("index.json"))["images"]]
        found = [pixels(archive.read(name)) for name in names]
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("n", [1, 500])  # at once, and streamed
def test_an_array_is_not_enlarged(ask: Ask, n: int) -> None:
    reply = ask("GET", f"/sample?model=tiny-plain&seed=7&n={n}&scale=2&format=npy")
    assert (reply.status_code, reply.json()["field"]) == (422, "scale")
    assert "the network's own pixels" in reply.json()["expected"]
    for scale in ("0", "33", "1.5"):
        assert ask("GET", f"/sample?scale={scale}").json()["field"] == "scale"


def test_the_limits_count_enlarged_pixels(ask: Ask) -> None:
    path = "/sample?model=tiny-plain&seed=7&n=4&format={}&scale={}"
    limits = {"max_reply_bytes": 4 * 8 * 8 * 3 * 25}
    for name in ("png", "zip", "json"):
        assert ask("GET", path.format(name, 5), settings=limits).status_code == 200
        reply = ask("GET", path.format(name, 6), settings=limits)
        assert (reply.status_code, reply.json()["field"]) == (422, "n")
    # 65 images of 8 pixels in a row, 32 times: more than a WebP file may be wide.
    wide = "/sample?model=tiny-vae&seed=7&n=65&columns=65&format=webp&scale={}"
    assert ask("GET", wide.format(31)).status_code == 200
    reply = ask("GET", wide.format(32))
    assert (reply.status_code, reply.json()["field"]) == (422, "format")
    assert "16640 x 256" in reply.json()["found"]


def test_pictures_that_were_sent_are_enlarged_as_well(ask: Ask) -> None:
    picture = ask("GET", "/sample?model=tiny-vae&seed=7").content
    options: dict[str, Any] = {"model": "tiny-vae", "scale": "2"}
    reply = ask("POST", "/reconstruct", data=options, files={"files": ("a.png", picture)})
    assert pixels(reply.content).shape == (16, 16, 1)
    reply = ask("POST", "/decode", json={"model": "tiny-vae", "latents": [[0, 0]], "scale": 5})
    assert pixels(reply.content).shape == (40, 40, 1)


def test_a_path_lies_in_one_row(ask: Ask) -> None:
    path = "/interpolate?model=tiny-plain&seeds=1,2&steps=5"
    assert pixels(ask("GET", path).content).shape == (8, 40, 3)
    assert pixels(ask("GET", f"{path}&columns=2").content).shape == (24, 16, 3)


@pytest.mark.parametrize(("name", "kind"), [("gif", "image/gif"), ("animated-webp", "image/webp")])
def test_a_path_as_an_animation(ask: Ask, models: Models, name: str, kind: str) -> None:
    query = f"model=tiny-vae&seeds=1,2&steps=5&scale=2&fps=20&there_and_back=true&format={name}"
    reply = ask("GET", f"/interpolate?{query}")
    assert reply.headers["content-type"] == kind
    with Image.open(io.BytesIO(reply.content)) as opened:
        found = [np.asarray(frame.convert("L")) for frame in ImageSequence.Iterator(opened)]
        assert opened.info["duration"] == 50
    model = models.get("tiny-vae")
    a, b = model.latents(seeds=[1, 2])
    there = enlarged(model.interpolate(a, b, 5), 2)[..., 0]
    np.testing.assert_array_equal(found, [*there, *there[-2:0:-1]])


def test_accept_chooses_a_gif_but_no_animated_webp(ask: Ask) -> None:
    path = "/interpolate?model=tiny-vae&seeds=1,2&steps=3"
    assert ask("GET", path, headers={"accept": "image/gif"}).content.startswith(b"GIF89a")
    reply = ask("GET", path, headers={"accept": "image/webp,*/*;q=0.1"})
    assert not getattr(Image.open(io.BytesIO(reply.content)), "is_animated", False)
    # What browsers send for an <img>: the first of what they like as much.
    accept = "image/avif,image/webp,image/apng,image/svg+xml,image/*,*/*;q=0.8"
    assert ask("GET", path, headers={"accept": accept}).headers["content-type"] == "image/png"


def test_frames_are_bounded_one_by_one(ask: Ask) -> None:
    path = "/interpolate?model=tiny-vae&seeds=1,2&format=animated-webp&steps={}"
    limits = {"max_reply_bytes": 4 * 8 * 8 * 10}
    assert ask("GET", path.format(10), settings=limits).status_code == 200
    assert ask("GET", path.format(11), settings=limits).json()["field"] == "steps"
    back = path.format(10) + "&there_and_back=true"
    assert ask("GET", back, settings=limits).json()["field"] == "steps"
    for fps in ("0", "51"):
        assert ask("GET", path.format(3) + f"&fps={fps}").json()["field"] == "fps"
