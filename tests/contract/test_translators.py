"""Translators that were trained here, as they are exported and served."""

import asyncio
import io
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
from PIL import Image

import runtime
from export import ExportError, export_run
from export.__main__ import main as export
from runtime.images import ImageSpec
from runtime.images.encoding import decode_npy
from tests.bento.support import ask_async, loaded
from tests.train.conftest import narrow, random_splits
from train.loop import train
from train.recipes import RECIPES
from train.runs import TrainedTranslator, load_any


def trained(name: str, out: Path, channels: Literal[1, 3] = 3) -> Path:
    recipe = narrow(RECIPES[name]())
    objective = recipe.objective
    objective = replace(objective, network=replace(objective.network, channels=channels))
    image = ImageSpec(height=32, width=32, channels=channels)
    recipe = replace(recipe, objective=objective, image=image)
    train(recipe, random_splits(recipe.image, recipe.classes or 1), out, device="cpu")
    return out


@pytest.fixture(scope="module")
def inpainting(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of artifacts with one that fills holes."""
    folder = tmp_path_factory.mktemp("inpainting")
    run = trained("cifar10_inpainting_l1", folder / "run")
    export_run(run, out=folder / "artifacts", precisions=())
    with pytest.raises(ExportError, match="--back: expected a CycleGAN"):
        export_run(run, out=folder / "artifacts", back=True)
    return folder / "artifacts"


def png(image: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "png")
    return buffer.getvalue()


def test_a_hole_is_filled_over_http_as_in_process(inpainting: Path) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    mask = np.zeros((32, 32), np.uint8)
    mask[8:20, 4:12] = 255
    files = [("files", ("a.png", png(picture))), ("mask", ("m.png", png(mask)))]
    with loaded(inpainting) as models:
        reply = asyncio.run(ask_async(models, "POST", "/translate?format=npy", files=files))
        expected = models.get(None).translate(picture[None], mask=mask[None])
    assert reply.status_code == 200, reply.text
    made = decode_npy(reply.content)
    assert np.abs(made.astype(int) - expected).max() <= 1
    assert np.array_equal(made[0][mask == 0], picture[mask == 0])
    assert not np.array_equal(made[0][mask > 0], picture[mask > 0])


def test_what_is_behind_the_mask_does_not_matter(inpainting: Path) -> None:
    picture = np.random.default_rng(1).integers(0, 256, (1, 32, 32, 3), np.uint8)
    mask = np.zeros((1, 32, 32), np.uint8)
    mask[:, 10:] = 255
    with runtime.load(inpainting / "cifar10-inpainting-l1", backend="onnxruntime") as model:
        made = model.translate(picture, mask=mask)
        blind = model.translate(np.where(mask[..., None] > 0, 7, picture), mask=mask)
        several = model.translate(picture.repeat(5, axis=0), mask=mask)
    assert np.array_equal(made, blind)
    assert np.abs(several.astype(int) - made).max() <= 1


def test_the_way_back_of_a_cyclegan_is_an_artifact_of_its_own(tmp_path: Path) -> None:
    run = trained("cifar10_cyclegan", tmp_path / "run")
    assert export(["run", str(run), "--out", str(tmp_path), "--precisions", "none", "--back"]) == 0
    picture = np.random.default_rng(0).integers(0, 256, (1, 32, 32, 3), np.uint8)
    with runtime.load(tmp_path / "cifar10-cyclegan-back", backend="onnxruntime") as model:
        made = model.translate(picture).astype(int)
        assert model.manifest.provenance.details["direction"] == "back"
    found = load_any(run)
    assert isinstance(found, TrainedTranslator)
    floats = torch.from_numpy(picture).permute(0, 3, 1, 2) / 127.5 - 1
    there, back = (
        np.rint(found.translators[way](floats).permute(0, 2, 3, 1).numpy() * 127.5 + 127.5)
        for way in ("translator", "back")
    )
    assert np.abs(made - back).max() <= 1 < np.abs(made - there).max()


@pytest.mark.parametrize("name", ["cifar10_cyclegan", "cifar10_inpainting_l1"])
def test_translators_of_grey_pictures_are_exported(name: str, tmp_path: Path) -> None:
    artifact = export_run(trained(name, tmp_path / "run", channels=1), out=tmp_path, precisions=())
    pictures = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 1), np.uint8)
    mask = np.full_like(pictures, 255) if "inpainting" in name else None
    with runtime.load(artifact, backend="onnxruntime") as model:
        assert model.translate(pictures, mask=mask).shape == pictures.shape
