"""The shipped artifacts over HTTP, with pictures unlike those that they were trained on."""

import asyncio
import io
import json
import shutil
from collections.abc import Iterator
from typing import NoReturn

import numpy as np
import pytest

from bento.repository.models import Models
from bento.settings import Settings
from runtime.images.encoding import encode_image
from tests.bento.support import ROOT, ask_async

pytestmark = pytest.mark.xdist_group("served")

NAME = "mnist-vae-2d"


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Models]:
    folder = tmp_path_factory.mktemp("artifacts")
    shutil.copytree(ROOT / "artifacts" / NAME, folder / NAME)
    loaded = Models(Settings(artifacts=folder, backend="onnxruntime", precision="fp32"))
    loaded.load()
    yield loaded
    loaded.close()


def bordered() -> bytes:
    """Its log variance is far outside of what training saw: over 200 in one place."""
    picture = np.zeros((28, 28, 1), np.uint8)
    picture[:4] = picture[-4:] = picture[:, :4] = picture[:, -4:] = 255
    return encode_image(picture)


def refuse(constant: str) -> NoReturn:
    raise AssertionError(f"{constant} is not JSON")


@pytest.mark.parametrize("seed", range(8))
def test_a_draw_is_json_and_can_be_decoded(models: Models, seed: int) -> None:
    path = f"/encode?model={NAME}&seed={seed}"
    reply = asyncio.run(ask_async(models, "POST", path, files={"files": bordered()}))
    if reply.status_code == 422:  # the draw is one that no decoder takes
        assert reply.json()["field"] == "images[0]"
        return
    assert reply.status_code == 200
    drawn = json.loads(reply.content, parse_constant=refuse)
    body = {"model": NAME, "latents": drawn["latents"], "format": "npy"}
    decoded = asyncio.run(ask_async(models, "POST", "/decode", json=body))
    assert decoded.status_code == 200
    assert np.load(io.BytesIO(decoded.content)).shape == (1, 28, 28, 1)


def test_its_posterior_is_finite(models: Models) -> None:
    path = f"/encode?model={NAME}"
    reply = asyncio.run(ask_async(models, "POST", path, files={"files": bordered()}))
    found = json.loads(reply.content, parse_constant=refuse)
    assert np.abs(found["log_variance"]).max() <= 30
