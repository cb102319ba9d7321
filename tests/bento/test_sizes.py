"""Models of any size over HTTP: size, noise, truncation, translate and manifold."""

import asyncio
import io
import threading
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from bento.repository.models import Models
from bento.settings import Settings
from runtime.artifact.reading import read_artifact
from runtime.artifact.shapes import Structure
from runtime.images.encoding import decode_npy, encode_npy
from runtime.machine import cores
from tests.bento.support import Ask, ask_async, loaded
from tests.sized import write_sized


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory):
    root = tmp_path_factory.mktemp("sized")
    write_sized(root)
    with loaded(root) as models:
        yield models


@pytest.fixture(scope="module")
def ask(models: Models) -> Ask:
    def ask(method: str, path: str, **request: Any) -> httpx.Response:
        return asyncio.run(ask_async(models, method, path, **request))

    return ask


def png(height: int, width: int, channels: int = 3, value: int = 128) -> bytes:
    pixels = np.full((height, width, channels), value, np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels if channels == 3 else pixels[..., 0]).save(buffer, "png")
    return buffer.getvalue()


def test_sample_of_a_size(ask: Ask, models: Models) -> None:
    body = {"n": 3, "seed": 5, "size": [16, 10], "truncation": 0.5, "format": "npy"}
    images = decode_npy(ask("POST", "/sample", json=body).content)
    expected = models.get(None).sample(3, seed=5, size=(16, 10), truncation=0.5)
    assert np.abs(images.astype(int) - expected).max() <= 1
    query = "/sample?n=3&seed=5&size=16,10&truncation=0.5&format=npy"
    assert np.array_equal(decode_npy(ask("POST", query).content), images)
    refused = ask("POST", "/sample", json={"size": [15, 10]})
    assert refused.status_code == 422
    assert refused.json()["field"] == "size"
    assert ask("POST", "/sample", json={"size": [16]}).status_code == 422


@pytest.mark.parametrize("path", ["/sample?size=14,22&format=npy", "/sample?size=22,14"])
def test_the_loop_goes_on_while_a_new_size_is_measured(
    path: str, models: Models, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, went_on, measure = threading.Event(), threading.Event(), Structure.tensors
    waited: list[bool] = []

    def measured(*given: Any) -> Any:
        begun.set()
        waited.append(went_on.wait(2.0))
        return measure(*given)

    async def ask_and_go_on() -> int:
        asked = asyncio.create_task(ask_async(models, "GET", path))
        while not (begun.is_set() or asked.done()):
            await asyncio.sleep(0.001)
        went_on.set()
        return (await asked).status_code

    monkeypatch.setattr(Structure, "tensors", measured)
    assert asyncio.run(ask_and_go_on()) == 200
    assert waited
    assert all(waited)


def test_large_images_stream_from_fewer_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bounds = read_artifact(write_sized(tmp_path)).bounds["decode"]
    room = bounds.cost(3, (("height", 64), ("width", 64))).bytes
    # A model takes half of what is free, and each of its runners an equal share of that.
    monkeypatch.setattr("runtime.limits.free_memory", lambda: 2 * room * min(8, cores()))
    models = Models(
        Settings(artifacts=tmp_path, backend="onnxruntime", precision="fp32", load_seconds=0)
    )
    models.load()
    limits = {"max_images": 4, "max_streamed_images": 7}
    status: dict[int, int] = {}
    for side in (4, 64):  # more images than are allowed unless they are streamed
        body = {"n": 7, "seed": 1, "size": [side, side], "format": "npy"}
        reply = asyncio.run(ask_async(models, "POST", "/sample", json=body, settings=limits))
        status[side] = reply.status_code
    models.close()
    assert status == {4: 422, 64: 200}
    assert decode_npy(reply.content).shape == (7, 64, 64, 3)


def test_decode_takes_size_and_noise_from_the_request(ask: Ask, models: Models) -> None:
    model = models.get(None)
    latents = model.latents(2, seed=3, size=(6, 8))
    reply = ask(
        "POST",
        "/decode?seed=3&format=npy",
        content=encode_npy(latents),
        headers={"content-type": "application/x-npy"},
    )
    found = decode_npy(reply.content)
    assert np.abs(found.astype(int) - model.sample(2, seed=3, size=(6, 8))).max() <= 1


def test_along_a_path_the_noise_stays_the_same(ask: Ask, models: Models) -> None:
    model = models.get(None)
    (latent,) = model.latents(1, seed=3)
    still = np.stack([latent] * 4)

    def interpolated(**options: Any) -> NDArray[np.uint8]:
        body = {"a": latent.tolist(), "b": latent.tolist(), "steps": 4, "format": "npy", **options}
        return decode_npy(ask("POST", "/interpolate", json=body).content)

    def decoded(query: str) -> NDArray[np.uint8]:
        headers = {"content-type": "application/x-npy"}
        path = f"/decode?format=npy&{query}"
        return decode_npy(ask("POST", path, content=encode_npy(still), headers=headers).content)

    for images in (interpolated(), interpolated(seed=5), decoded("seed=5&same_noise=true")):
        assert (images == images[0]).all()
    assert np.array_equal(interpolated(seed=5), decoded("seed=5&same_noise=true"))
    assert np.array_equal(interpolated(seed=5), model.interpolate(latent, latent, 4, seed=5))
    assert not np.array_equal(interpolated(), interpolated(seed=5))
    # Unless it is asked for, latents have each its own: those of the images of a seed.
    images = decoded("seed=5")
    assert all((image != images[0]).any() for image in images[1:])


def test_pictures_keep_their_size_unless_one_is_named(ask: Ask) -> None:
    files = {"files": ("a.png", png(21, 30))}
    reply = ask("POST", "/reconstruct", files=files, data={"format": "npy"})
    assert decode_npy(reply.content).shape == (1, 22, 30, 3)
    reply = ask("POST", "/encode", files=files, data={"format": "npy", "size": "8,6"})
    assert decode_npy(reply.content).shape == (1, 2, 4, 3)


def test_pictures_keep_the_size_that_they_have_when_upright(ask: Ask) -> None:
    picture = Image.new("RGB", (30, 22))
    exif = picture.getexif()
    exif[0x0112] = 6  # lies on its side
    buffer = io.BytesIO()
    picture.save(buffer, "jpeg", exif=exif)
    files = {"files": ("a.jpg", buffer.getvalue())}
    reply = ask("POST", "/reconstruct", files=files, data={"format": "npy"})
    assert decode_npy(reply.content).shape == (1, 30, 22, 3)


def test_translate_with_a_mask(ask: Ask, models: Models) -> None:
    files = {"files": ("a.png", png(12, 16)), "mask": ("m.png", png(12, 16, 1, 255))}
    reply = ask("POST", "/translate", files=files, data={"format": "npy"})
    assert reply.status_code == 200, reply.text
    images = np.full((1, 12, 16, 3), 128, np.uint8)
    expected = models.get(None).translate(images, mask=np.full((1, 12, 16, 1), 255, np.uint8))
    assert np.abs(decode_npy(reply.content).astype(int) - expected).max() <= 1
    two = [("files", ("a.png", png(12, 16))), *[("mask", ("m.png", png(4, 4, 1)))] * 2]
    assert ask("POST", "/translate", files=two).json()["field"] == "mask"
    damaged = {**files, "mask": ("m.png", b"no picture")}
    assert ask("POST", "/translate", files=damaged).json()["field"] == "mask"
    assert ask("POST", "/reconstruct", files=files).json()["field"] == "mask"
    array = encode_npy(np.zeros((1, 12, 16, 3), np.uint8))
    headers = {"content-type": "application/x-npy"}
    other = ask("POST", "/encode?size=8,6", content=array, headers=headers)
    assert other.json()["field"] == "size"
    missing = ask("POST", "/translate", files={"files": ("a.png", png(12, 16))})
    assert missing.status_code == 422
    assert missing.json()["field"] == "mask"


def test_models_describe_axes_and_requests(ask: Ask) -> None:
    (entry,) = ask("GET", "/models").json()["models"]
    assert entry["axes"]["height"] == {"min": 4, "max": 64, "multiple_of": 2, "default": 8}
    assert "translate" in entry["requests"]
    assert "manifold" not in entry["requests"]
    refused = ask("POST", "/manifold", json={"steps": 2})
    assert refused.status_code == 422
    assert refused.json()["field"] == "model"


def test_large_images_in_tiles(ask: Ask, models: Models) -> None:
    model = models.get(None)
    latents = np.random.default_rng(0).standard_normal((2, 2, 20, 40)).astype(np.float32)
    npy = {"content-type": "application/x-npy"}
    reply = ask("POST", "/decode?format=npy&tile=16", content=encode_npy(latents), headers=npy)
    assert np.array_equal(decode_npy(reply.content), model.decode(latents, tile=16))
    # 40 x 80 is more than the artifact makes at once: it is cut without being asked.
    reply = ask("POST", "/decode?format=npy", content=encode_npy(latents), headers=npy)
    assert np.array_equal(decode_npy(reply.content), model.decode(latents))
    body = {"latents": latents[:1].tolist(), "format": "npy", "tile": 16}
    assert decode_npy(ask("POST", "/decode", json=body).content).shape == (1, 40, 80, 3)

    picture, mask = png(40, 81), png(40, 81, 1)
    files = {"files": ("a.png", picture), "mask": ("m.png", mask)}
    made = ask("POST", "/translate", files=files, data={"format": "npy", "tile": "16"})
    assert decode_npy(made.content).shape == (1, 80, 162, 3)
    made = ask("POST", "/translate", files=files, data={"format": "npy"})
    assert decode_npy(made.content).shape == (1, 80, 162, 3)  # more than is made at once
    made = ask("POST", "/translate", files=files, data={"format": "npy", "size": "40,90"})
    assert decode_npy(made.content).shape == (1, 80, 180, 3)
    headers = {"content-type": "image/png"}
    made = ask("POST", "/encode?format=npy&tile=16", content=picture, headers=headers)
    assert decode_npy(made.content).shape == (1, 2, 20, 41)

    for tile in ("7", "0", "100"):
        refused = ask("POST", f"/encode?tile={tile}", content=picture, headers=headers)
        assert (refused.status_code, refused.json()["field"]) == (422, "tile")
    reply = ask("POST", "/sample?size=40,90")
    assert (reply.status_code, reply.json()["field"]) == (422, "size")


def test_pictures_are_opened_up_to_a_size(ask: Ask) -> None:
    headers = {"content-type": "image/png"}
    tall = png(4200, 6)
    made = ask("POST", "/encode?format=npy&tile=16", content=tall, headers=headers)
    assert decode_npy(made.content).shape == (1, 2, 2048, 3)
    for path in ("/encode?tile=16&size=4200,6", "/translate?tile=16&size=4200,6"):
        refused = ask("POST", path, content=tall, headers=headers)
        assert (refused.status_code, refused.json()["field"]) == (422, "size")
        assert "at most 4096" in refused.json()["expected"]


def test_the_reply_bounds_images_of_any_size(models: Models) -> None:
    latents = np.zeros((1, 2, 1000, 1000), np.float32)
    npy = {"content-type": "application/x-npy"}
    limits = {"max_reply_bytes": 11_000_000}
    reply = asyncio.run(
        ask_async(
            models,
            "POST",
            "/decode?format=npy",
            settings=limits,
            content=encode_npy(latents),
            headers=npy,
        )
    )
    assert (reply.status_code, reply.json()["field"]) == (422, "latents")
    assert "at most 11000000 bytes in a reply" in reply.json()["expected"]


def test_models_say_how_near_tiles_come(tmp_path: Path) -> None:
    graphs = read_artifact(write_sized(tmp_path / "a")).manifest.model_dump(mode="json")["graphs"]
    tiling = {"exact": True, "halo": 2, "tile": 16, "max_difference": 1.0, "mean_difference": 0.1}
    graphs["decode"]["tiling"] = tiling
    write_sized(tmp_path / "b", graphs=graphs)
    models = Models(Settings(artifacts=tmp_path / "b", backend="onnxruntime", load_seconds=0))
    models.load()
    entry = asyncio.run(ask_async(models, "GET", "/models/tiny-sized")).json()
    models.close()
    assert entry["tiling"] == {"decode": tiling, "encode": None, "translate": None}
