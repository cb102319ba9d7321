"""Models whose encoder takes noise, and draws from posteriors, over HTTP."""

import asyncio
import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from bento.repository.models import Models
from bento.settings import Settings
from runtime.images.encoding import encode_npy
from tests.bento.support import ask_async
from tests.tiny import write_artifact

NPY = {"content-type": "application/x-npy"}
Post = Callable[[str], httpx.Response]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Models]:
    folder = tmp_path_factory.mktemp("artifacts")
    write_artifact(folder, "vae")
    write_artifact(folder, "vae", name="tiny-flow", noise=True, mixture=True)
    loaded = Models(Settings(artifacts=folder, precision="fp32"))
    loaded.load()
    yield loaded
    loaded.close()


@pytest.fixture(scope="module")
def images(models: Models) -> np.ndarray:
    return models.get("tiny-vae").sample(3, seed=5)


@pytest.fixture(scope="module")
def post(models: Models, images: np.ndarray) -> Post:
    def post(path: str) -> httpx.Response:
        content = encode_npy(images)
        return asyncio.run(ask_async(models, "POST", path, content=content, headers=NPY))

    return post


@pytest.mark.parametrize("name", ["tiny-flow", "tiny-vae"])
def test_draws_in_every_format(models: Models, images: np.ndarray, post: Post, name: str) -> None:
    expected = models.get(name).encode(images, seed=7)
    path = f"/encode?model={name}&seed=7"
    told = post(path).json()
    assert told["model"] == f"{name}@1"
    np.testing.assert_array_equal(np.float32(told["latents"]), expected.latents)
    np.testing.assert_array_equal(np.float32(told["log_density"]), expected.log_density)
    assert set(told) == {"model", "latents", "log_density"}
    latents = np.load(io.BytesIO(post(f"{path}&format=npy").content))
    np.testing.assert_array_equal(latents, expected.latents)
    with np.load(io.BytesIO(post(f"{path}&format=npz").content)) as arrays:
        np.testing.assert_array_equal(arrays["latents"], expected.latents)
        np.testing.assert_array_equal(arrays["log_density"], expected.log_density)
    assert post(path).json() == told
    assert post(f"/encode?model={name}&seed=8").json() != told


def test_a_seed_is_needed_and_checked(post: Post) -> None:
    reply = post("/encode?model=tiny-flow")
    assert reply.status_code == 422
    assert reply.json()["field"] == "seed"
    assert "this encoder draws latents" in reply.json()["expected"]
    assert post("/encode?model=tiny-flow&seed=-1").status_code == 422


def test_reconstruct(models: Models, images: np.ndarray, post: Post) -> None:
    reply = post("/reconstruct?model=tiny-flow&format=npy")
    expected = models.get("tiny-flow").reconstruct(images)
    np.testing.assert_array_equal(np.load(io.BytesIO(reply.content)), expected)


def test_what_is_told_of_the_models(models: Models) -> None:
    reply = asyncio.run(ask_async(models, "GET", "/models?full=1")).json()["models"]
    told: dict[str, Any] = {model["name"]: model for model in reply}
    keys = ("prior", "can_encode", "encoder_takes_noise")
    assert [told["tiny-flow"][key] for key in keys] == ["gaussian_mixture", True, True]
    assert [told["tiny-vae"][key] for key in keys] == ["standard_normal", True, False]


def test_the_examples_of_the_description_give_a_seed(models: Models, tmp_path: Path) -> None:
    document = asyncio.run(ask_async(models, "GET", "/openapi.json")).json()
    body = document["paths"]["/encode"]["post"]["requestBody"]["content"]["multipart/form-data"]
    fields = body["schema"]["properties"]
    assert (fields["model"]["example"], fields["seed"]["example"]) == ("tiny-flow", 7)
