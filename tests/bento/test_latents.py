"""POST /decode, /encode, /reconstruct and /interpolate."""

import io

import numpy as np
import pytest
from PIL import Image

from bento.repository.models import Models
from runtime.images import fit
from runtime.images.encoding import encode_image, encode_npy
from tests.bento.support import Ask

NPY = {"content-type": "application/x-npy"}


def photo(size: tuple[int, int] = (40, 30)) -> Image.Image:
    """A colourful gradient, larger than the models' images and of another aspect."""
    x, y = np.meshgrid(np.linspace(0, 255, size[0]), np.linspace(0, 255, size[1]))
    return Image.fromarray(np.stack([x, y, 255 - x], axis=-1).astype(np.uint8))


def as_file(image: Image.Image, kind: str = "png") -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return buffer.getvalue()


def test_decode_json_and_npy_agree(ask: Ask, models: Models) -> None:
    model = models.get("tiny-plain")
    latents = model.latents(3, seed=1)
    body = {"model": "tiny-plain", "latents": latents.tolist(), "format": "npy"}
    from_json = ask("POST", "/decode", json=body)
    query = "/decode?model=tiny-plain&format=npy"
    from_npy = ask("POST", query, content=encode_npy(latents), headers=NPY)
    assert from_json.headers["x-model"] == "tiny-plain@2"
    np.testing.assert_array_equal(np.load(io.BytesIO(from_json.content)), model.decode(latents))
    assert from_json.content == from_npy.content


def test_decode_with_labels(ask: Ask, models: Models) -> None:
    model = models.get("tiny-conditional")
    latents = model.latents(2, seed=1)
    query = "/decode?model=tiny-conditional&labels=one,2&format=json"
    reply = ask("POST", query, content=encode_npy(latents), headers=NPY).json()
    assert [entry["label"] for entry in reply["images"]] == ["one", "two"]
    assert [entry["index"] for entry in reply["images"]] == [0, 1]


def test_encode_formats_agree(ask: Ask, models: Models) -> None:
    model = models.get("tiny-vae")
    images = model.sample(3, seed=5)
    expected = model.encode(images)

    def encode(query: str) -> bytes:
        path = f"/encode?model=tiny-vae{query}"
        return ask("POST", path, content=encode_npy(images), headers=NPY).content

    as_json = ask("POST", "/encode?model=tiny-vae", content=encode_npy(images), headers=NPY).json()
    assert as_json["model"] == "tiny-vae@1"
    np.testing.assert_array_equal(np.float32(as_json["mean"]), expected.mean)
    np.testing.assert_array_equal(np.float32(as_json["log_variance"]), expected.log_variance)
    np.testing.assert_array_equal(np.load(io.BytesIO(encode("&format=npy"))), expected.mean)
    with np.load(io.BytesIO(encode("&format=npz"))) as arrays:
        np.testing.assert_array_equal(arrays["mean"], expected.mean)
        np.testing.assert_array_equal(arrays["log_variance"], expected.log_variance)


def test_every_way_to_send_pictures_agrees(ask: Ask, models: Models) -> None:
    model = models.get("tiny-vae")
    image = photo()
    fitted = fit(image, model.manifest.image())
    expected = model.encode(fitted[None]).mean

    png = as_file(image)
    path = "/encode?model=tiny-vae"
    multipart = ask("POST", "/encode", files={"files": ("a.png", png)}, data={"model": "tiny-vae"})
    raw = ask("POST", path, content=png, headers={"content-type": "image/png"})
    anonymous = {"content-type": "application/octet-stream"}
    octets = ask("POST", path, content=png, headers=anonymous)
    npy = ask("POST", path, content=encode_npy(fitted[None]), headers=anonymous)
    for reply in (multipart, raw, octets, npy):
        assert reply.status_code == 200, reply.text
        np.testing.assert_array_equal(np.float32(reply.json()["mean"]), expected)


def test_several_files_keep_their_order(ask: Ask, models: Models) -> None:
    model = models.get("tiny-vae")
    images = model.sample(5, seed=1)
    files = [("files", (f"{i}.png", encode_image(image))) for i, image in enumerate(images)]
    reply = ask("POST", "/encode?model=tiny-vae&format=npy", files=files)
    found = np.load(io.BytesIO(reply.content))
    np.testing.assert_array_equal(found, model.encode(images).mean)
    assert len(np.unique(found, axis=0)) == 5


def test_reconstruct(ask: Ask, models: Models) -> None:
    model = models.get("tiny-vae")
    images = model.sample(4, seed=2)
    path = "/reconstruct?model=tiny-vae&format=npy"
    reply = ask("POST", path, content=encode_npy(images), headers=NPY)
    np.testing.assert_array_equal(np.load(io.BytesIO(reply.content)), model.reconstruct(images))
    sheet = ask("POST", "/reconstruct?model=tiny-vae", files={"files": as_file(photo())})
    assert Image.open(io.BytesIO(sheet.content)).size == (8, 8)


@pytest.mark.parametrize("kind", ["slerp", "lerp"])
def test_interpolate_between_seeds_or_latents(ask: Ask, models: Models, kind: str) -> None:
    model = models.get("tiny-plain")
    a, b = model.latents(seeds=[3, 4])
    common = {"model": "tiny-plain", "steps": 5, "kind": kind, "format": "npy"}
    by_seed = ask("POST", "/interpolate", json={**common, "seeds": [3, 4]})
    by_latent = ask("POST", "/interpolate", json={**common, "a": a.tolist(), "b": b.tolist()})
    assert by_seed.status_code == 200, by_seed.text
    images = np.load(io.BytesIO(by_seed.content))
    np.testing.assert_array_equal(images, model.interpolate(a, b, 5, kind))  # pyright: ignore[reportArgumentType]
    assert by_latent.content == by_seed.content
    ends = model.sample(seeds=[3, 4])
    assert np.abs(images[[0, -1]].astype(int) - ends).max() <= 1


def test_interpolation_of_a_conditional_model(ask: Ask) -> None:
    body = {"model": "tiny-conditional", "seeds": [1, 2], "steps": 4, "format": "json"}
    entries = ask("POST", "/interpolate", json={**body, "labels": "one"}).json()["images"]
    assert [entry["label"] for entry in entries] == ["one"] * 4
    refused = ask("POST", "/interpolate", json=body)
    assert refused.status_code == 422
    assert refused.json()["field"] == "labels"


def test_latents_are_those_of_samples(ask: Ask, models: Models) -> None:
    expected = models.get("tiny-plain").latents(3, seed=7, offset=2)
    path = "/latents?model=tiny-plain&n=3&seed=7&offset=2"
    reply = ask("GET", f"{path}&format=npy")
    np.testing.assert_array_equal(np.load(io.BytesIO(reply.content)), expected)
    np.testing.assert_array_equal(np.float32(ask("GET", path).json()["latents"]), expected)
    assert reply.headers["x-seed"] == "7"
    known = {"if-none-match": reply.headers["etag"]}
    assert ask("GET", f"{path}&format=npy", headers=known).status_code == 304
    assert ask("GET", "/latents?model=tiny-plain").headers["cache-control"] == "no-store"


def test_latents_of_a_grid_are_those_of_the_manifold(ask: Ask, models: Models) -> None:
    latents = ask("POST", "/latents", json={"model": "tiny-vae", "grid": 3, "format": "npy"})
    assert latents.headers["x-model"] == "tiny-vae@1"
    assert "x-seed" not in latents.headers
    path = "/decode?model=tiny-vae&format=npy"
    images = ask("POST", path, content=latents.content, headers=NPY)
    expected = models.get("tiny-vae").manifold(3)
    np.testing.assert_array_equal(np.load(io.BytesIO(images.content)), expected)


@pytest.mark.parametrize(
    ("body", "field", "found"),
    [
        ({"model": "tiny-vae", "grid": 3, "seed": 1}, "grid", "seed"),
        ({"model": "tiny-vae", "grid": 3, "n": 9, "offset": 2}, "grid", "n, offset"),
        ({"model": "tiny-vae", "grid": 0}, "grid", "0"),
        ({"model": "tiny-plain", "grid": 3}, "model", "latent shape [4]"),
        ({"model": "tiny-vae", "grid": 1000}, "grid", "1000000"),
    ],
)
def test_a_grid_stands_alone(ask: Ask, body: dict[str, object], field: str, found: str) -> None:
    reply = ask("POST", "/latents", json=body)
    assert reply.status_code == 422
    assert reply.json()["field"] == field
    assert found in reply.text
