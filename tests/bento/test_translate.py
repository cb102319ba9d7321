"""`POST /translate`: several pictures of several sizes, masks, formats."""

import asyncio
import io
import zipfile
from collections.abc import Generator
from typing import Any

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from bento.repository.models import Models
from runtime.images.encoding import decode_npy, encode_npy
from tests.bento.support import Ask, ask_async, loaded
from tests.sized import write_sized


@pytest.fixture(scope="module", params=[False, True], ids=["plain", "masked"])
def models(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Generator[Models]:
    root = tmp_path_factory.mktemp("translators")
    write_sized(root, masked=request.param)
    with loaded(root) as models:
        yield models


plain = pytest.mark.parametrize("models", [False], indirect=True, ids=["plain"])
masked = pytest.mark.parametrize("models", [True], indirect=True, ids=["masked"])


@pytest.fixture
def ask(models: Models) -> Ask:
    def ask(method: str, path: str, **request: Any) -> httpx.Response:
        return asyncio.run(ask_async(models, method, path, **request))

    return ask


def pixels(height: int, width: int) -> NDArray[np.uint8]:
    return np.random.default_rng(height).integers(0, 256, (height, width, 3), np.uint8)


def png(image: NDArray[np.uint8]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "png")
    return buffer.getvalue()


def opened(data: bytes) -> NDArray[np.uint8]:
    return np.asarray(Image.open(io.BytesIO(data)))


_SIZES = ((6, 9), (80, 40), (12, 16))


def _files(sizes: tuple[tuple[int, int], ...] = _SIZES) -> list[tuple[str, Any]]:
    return [("files", (f"{i}.png", png(pixels(*size)))) for i, size in enumerate(sizes)]


@plain
def test_a_picture_keeps_its_size_in_every_format(ask: Ask, models: Models) -> None:
    expected = models.get(None).translate(pixels(7, 9)[None])[0]
    for name in ("png", "webp"):
        reply = ask("POST", "/translate", files=_files(((7, 9),)), data={"format": name})
        assert reply.headers["content-type"] == f"image/{name}"
        assert np.array_equal(opened(reply.content), expected)
    jpeg = ask("POST", "/translate?format=jpeg", files=_files(((7, 9),)))
    assert opened(jpeg.content).shape == (14, 18, 3)
    npy = ask("POST", "/translate?format=npy", files=_files(((7, 9),) * 3))
    assert np.array_equal(decode_npy(npy.content), np.stack([expected] * 3))


@plain
def test_pictures_of_several_sizes_are_a_zip_in_their_order(ask: Ask, models: Models) -> None:
    reply = ask("POST", "/translate", files=_files())
    assert reply.status_code == 200, reply.text
    assert reply.headers["content-type"] == "application/zip"
    with zipfile.ZipFile(io.BytesIO(reply.content)) as archive:
        assert archive.testzip() is None
        made = [opened(archive.read(f"{i:05d}.png")) for i in range(3)]
    assert [image.shape for image in made] == [(12, 18, 3), (160, 80, 3), (24, 32, 3)]
    for i in range(3):
        assert np.array_equal(made[i], models.get(None).translate(pixels(*_SIZES[i])[None])[0])
    one = ask("POST", "/translate?size=8,8&format=npy", files=_files())
    assert decode_npy(one.content).shape == (3, 16, 16, 3)
    listed = ask("POST", "/translate?format=json", files=_files()).json()
    assert [entry["index"] for entry in listed["images"]] == [0, 1, 2]


@plain
def test_pictures_of_several_sizes_make_no_sheet(ask: Ask) -> None:
    refused = ask("POST", "/translate?format=png", files=_files())
    assert refused.status_code == 422
    assert refused.json()["field"] == "format"
    assert "zip" in refused.json()["expected"]
    damaged = [*_files(), ("files", ("d.png", png(pixels(6, 6))[:60]))]
    assert ask("POST", "/translate", files=damaged).json()["field"] == "files[3]"


@plain
def test_pictures_of_several_sizes_are_bounded_together(models: Models) -> None:
    bounded = {"max_upload_pixels": 3300}
    reply = asyncio.run(ask_async(models, "POST", "/translate", files=_files(), settings=bounded))
    assert reply.status_code == 422
    assert reply.json()["field"] == "files[2]"
    assert reply.json()["found"].startswith("3446")


@plain
@pytest.mark.parametrize("shape", [(0, 8, 8, 3), (1, 0, 8, 3), (1, 8, 0, 3)])
def test_an_array_without_pixels_is_refused(ask: Ask, shape: tuple[int, ...]) -> None:
    headers = {"content-type": "application/x-npy"}
    body = encode_npy(np.zeros(shape, np.uint8))
    refused = ask("POST", "/translate", content=body, headers=headers)
    assert refused.status_code == 422
    assert refused.json()["field"] == "images"


@masked
def test_a_mask_of_another_size_is_refused(ask: Ask) -> None:
    mask = ("mask", ("m.png", png(np.zeros((8, 9), np.uint8))))
    files = [*_files(((6, 9),)), mask]
    refused = ask("POST", "/translate", files=files)
    assert refused.status_code == 422
    assert refused.json()["field"] == "mask"
    assert "6 x 9" in refused.json()["expected"]
    assert "8 x 9" in refused.json()["found"]
    several = ask("POST", "/translate", files=[*_files(((8, 9), (6, 9))), mask])
    assert several.json()["field"] == "mask"
    assert "files[1], 6 x 9" in several.json()["expected"]


@masked
def test_a_mask_serves_pictures_of_its_size(ask: Ask, models: Models) -> None:
    mask = np.zeros((7, 9), np.uint8)
    mask[3:] = 255
    files = [*_files(((7, 9),)), ("mask", ("m.png", png(mask)))]
    reply = ask("POST", "/translate?format=npy", files=files)
    expected = models.get(None).translate(pixels(7, 9)[None], mask=mask[None])
    assert np.array_equal(decode_npy(reply.content), expected)


def test_the_description_tells_scale_sizes_and_mask(ask: Ask) -> None:
    operation = ask("GET", "/openapi.json").json()["paths"]["/translate"]["post"]
    assert "tiny-sized: scale 2; height from 4 to 64, a multiple of 2" in operation["description"]
    form = operation["requestBody"]["content"]["multipart/form-data"]["schema"]["properties"]
    assert {"files", "mask", "size"} <= form.keys()
