"""A model of volumes, trained at a tiny width: arrays, pictures and glTF of what it makes."""

import asyncio
import io
import json
from collections.abc import Iterator
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

import runtime
from bento.repository.models import Models
from export import export_run
from runtime.__main__ import main as command
from runtime.images import contact_sheet
from runtime.images.encoding import decode_npy
from runtime.images.volumes import SIDE, as_pictures
from tests.bento.support import ask_async, loaded
from tests.train.conftest import narrow
from train.data import Dataset, Splits
from train.data.furniture import KINDS
from train.loop import train
from train.objectives import AdamParams
from train.recipes import RECIPES

NAME = "furniture-vae"


def few() -> Splits:
    """Two blocks for each kind, so large that a tiny network learns in no time where they are."""
    labels = np.arange(10) % len(KINDS)
    images = np.zeros((10, 32, 32, 32, 1), np.uint8)
    for number, image in enumerate(images):
        image[: 20 + number, 2:30, 2:30] = 255
    images = images.reshape(10, 1024, 32, 1)
    return Splits(Dataset("few", images, labels, tuple(KINDS), "generated"))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("volumes")
    recipe = narrow(RECIPES["furniture_vae"]())
    # In such steps its images come to differ, by latents and by what is asked.
    objective = replace(recipe.objective, optimizer=AdamParams(0.02))
    recipe = replace(recipe, objective=objective, steps=40)
    train(recipe, few(), folder / "run", device="cpu")
    export_run(folder / "run", out=folder / "artifacts", precisions=())
    return folder / "run"


@pytest.fixture(scope="module")
def models(run: Path) -> Iterator[Models]:
    with loaded(run.parent / "artifacts") as models:
        yield models


@pytest.fixture(scope="module")
def model(models: Models) -> runtime.Model:
    return models.get(NAME)


def ask(models: Models, method: str, path: str, **request: Any) -> httpx.Response:
    return asyncio.run(ask_async(models, method, path, **request))


def size(picture: Path) -> tuple[int, int]:
    """(width, height) of a file."""
    with Image.open(picture) as opened:
        return opened.size


def test_samples_are_volumes_whatever_their_batch(model: runtime.Model) -> None:
    made = model.sample(5, seed=7, labels="chair")
    assert (made.shape, made.dtype) == ((5, 32, 32, 32, 1), np.uint8)
    assert made.std() > 0
    alone = model.sample(1, seed=7, offset=3, labels="chair")
    assert np.abs(alone[0].astype(int) - made[3]).max() <= 1
    assert model.manifest.parity[0].max_difference <= 1
    assert model.manifest.image().shape == (SIDE, SIDE, 1)
    latents = model.latents(5, seed=7)
    again = model.decode(latents, "chair")
    assert np.abs(again.astype(int) - made).max() <= 1
    assert model.directions(2).directions.shape == (2, 12)


def test_an_artifact_of_volumes_has_a_sheet_of_their_pictures(run: Path) -> None:
    folder = run.parent / "artifacts" / NAME / "1"
    width, height = size(folder / "samples.png")
    assert (width % SIDE, height % SIDE) == (0, 0)
    manifest = json.loads((folder / "manifest.json").read_text())
    (made,) = manifest["graphs"]["decode"]["outputs"]
    assert (made["role"], made["shape"]) == ("volume", [32, 32, 32, 1])
    assert set(manifest["graphs"]) == {"decode"}
    # The sheets of the training are of the same pictures, four across.
    sheet = min((run / "samples").glob("*.png"))
    assert size(sheet) == (4 * SIDE, 4 * SIDE)


def test_http_gives_arrays_and_pictures(models: Models, model: runtime.Model) -> None:
    expected = model.sample(3, seed=7, labels="bed")
    query = {"model": NAME, "seed": 7, "n": 3, "labels": "bed"}
    npy = ask(models, "GET", "/sample", params={**query, "format": "npy"})
    assert npy.status_code == 200, npy.text
    found = decode_npy(npy.content)
    assert found.shape == expected.shape
    assert np.abs(found.astype(int) - expected).max() <= 1
    shown = {**query, "n": 4, "columns": 2, "scale": 2, "format": "png"}
    picture = Image.open(io.BytesIO(ask(models, "GET", "/sample", params=shown).content))
    assert picture.size == (4 * SIDE, 4 * SIDE)
    unscaled = ask(models, "GET", "/sample", params={**shown, "scale": 1}).content
    pixels = np.asarray(Image.open(io.BytesIO(unscaled)))[..., None]
    sheet = contact_sheet(as_pictures(model.sample(4, seed=7, labels="bed")), 2)
    # Where a voxel is at the threshold, a grey level may fill it or not.
    assert (pixels != sheet).mean() < 0.01
    for kind in ("gif", "zip", "json"):
        reply = ask(models, "GET", "/sample", params={**query, "format": kind})
        assert reply.status_code == 200, reply.text
    body = {"model": NAME, "prompt": "lamp", "seed": 7}
    made = ask(models, "POST", "/v1/images/generations", json=body)
    assert made.json()["size"] == f"{SIDE}x{SIDE}"
    assert ask(models, "GET", f"/models/{NAME}").json()["volume"] == [32, 32, 32, 1]


def test_glb_is_a_mesh_or_says_what_is_missing(models: Models, run: Path, tmp_path: Path) -> None:
    query = {"model": NAME, "seed": 7, "n": 2, "labels": "bed", "format": "glb"}
    reply = ask(models, "GET", "/sample", params=query)
    scaled = ask(models, "GET", "/sample", params={**query, "scale": 2})
    assert (scaled.status_code, scaled.json()["field"]) == (422, "scale")
    out = tmp_path / "beds.glb"
    sample = ["sample", str(run.parent / "artifacts" / NAME), "-n", "2", "--seed", "7"]
    code = command([*sample, "--labels", "bed", "-o", str(out)])
    told = ask(models, "GET", f"/models/{NAME}").json()["glb"]
    assert told == (find_spec("trimesh") is not None)
    if not told:
        assert reply.status_code == 422
        assert "trimesh is missing here" in reply.json()["expected"]
        assert code != 0
        assert not out.exists()
        return
    assert reply.headers["content-type"] == "model/gltf-binary"
    assert reply.content[:4] == b"glTF"
    assert code == 0
    assert out.read_bytes()[:4] == b"glTF"


def test_pictures_are_no_meshes(tmp_path: Path) -> None:
    from tests.tiny import write_artifact

    write_artifact(tmp_path, "plain")
    with loaded(tmp_path) as models:
        reply = ask(models, "GET", "/sample", params={"seed": 7, "format": "glb"})
        (told,) = ask(models, "GET", "/models?full=1").json()["models"]
        assert told["glb"] is False
    assert (reply.status_code, reply.json()["field"]) == (422, "format")
    assert "glb is for volumes" in reply.json()["expected"]


def test_the_shell_writes_arrays_and_pictures(run: Path, tmp_path: Path) -> None:
    sample = ["sample", str(run.parent / "artifacts" / NAME), "-n", "3", "--seed", "7"]
    assert command([*sample, "--labels", "lamp", "-o", str(tmp_path / "a.npy")]) == 0
    assert np.load(tmp_path / "a.npy").shape == (3, 32, 32, 32, 1)
    assert command([*sample, "--labels", "lamp", "-o", str(tmp_path / "single")]) == 0
    files = sorted((tmp_path / "single").glob("*.png"))
    assert list(map(size, files)) == [(SIDE, SIDE)] * 3
