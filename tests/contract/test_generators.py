"""Every kind of generator that a recipe trains becomes an artifact: parity, then samples."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import runtime
from export import export_run
from runtime.images import ImageSpec
from tests.train.conftest import random_splits
from train.loop import train
from train.recipes import RECIPES, Recipe

_SIZE = {"height": 8, "width": 8, "generator_width": 2, "discriminator_width": 2}

# Their decoders differ from those that the tests of `export` know; what else is new in recipes
# (discriminators, losses, penalties) never leaves training.
KINDS = ("mnist_virtual_batch_norm", "mnist_cgan_concatenate", "mnist_dcgan_uniform_prior")


def tiny(recipe: Recipe) -> Recipe:
    objective: Any = recipe.objective
    image = ImageSpec(height=8, width=8, channels=recipe.image.channels)
    objective = replace(objective, network=replace(objective.network, **_SIZE))
    return replace(recipe, objective=objective, image=image, steps=2, batch_size=4)


@pytest.mark.parametrize("name", KINDS)
def test_trains_exports_and_samples(name: str, tmp_path: Path) -> None:
    recipe = tiny(RECIPES[name]())
    classes = getattr(recipe.objective.network, "classes", 0)
    data = random_splits(recipe.image, classes or 1)
    train(recipe, data, tmp_path / "run", device="cpu", progress=False)
    artifact = export_run(tmp_path / "run", out=tmp_path / "artifacts")
    with runtime.load(artifact, backend="onnxruntime") as model:
        images = model.sample(3, seed=0)
        assert images.shape == (3, *recipe.image.shape)
        assert (model.manifest.labels is not None) == bool(classes)
