"""Every recipe becomes an artifact: a few steps at a tiny width, parity, samples."""

from pathlib import Path

import pytest

import runtime
from export import export_run
from tests.train.conftest import narrow, random_splits
from train.loop import train
from train.recipes import RECIPES


@pytest.mark.parametrize("name", RECIPES)
def test_trains_exports_and_samples(name: str, tmp_path: Path) -> None:
    recipe = narrow(RECIPES[name]())
    classes = recipe.objective.network.classes
    data = random_splits(recipe.image, classes or 1)
    train(recipe, data, tmp_path / "run", device="cpu")
    # Reduced precisions have tests of their own, and take most of an export's time.
    artifact = export_run(tmp_path / "run", out=tmp_path / "artifacts", precisions=())
    with runtime.load(artifact, backend="onnxruntime") as model:
        assert model.manifest.parity
        assert model.sample(3, seed=0).shape == (3, *recipe.image.shape)
        assert (model.manifest.labels is not None) == bool(classes)
