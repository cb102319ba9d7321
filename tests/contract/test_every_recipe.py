"""Every recipe becomes an artifact: a few steps at a tiny width, parity, images."""

from pathlib import Path

import numpy as np
import pytest

import runtime
from export import export_run
from tests.train.conftest import SAMPLERS, TRANSLATORS, narrow, random_splits
from train.loop import train
from train.recipes import RECIPES


@pytest.mark.parametrize("name", SAMPLERS)
def test_trains_exports_and_samples(name: str, tmp_path: Path) -> None:
    recipe = narrow(RECIPES[name]())
    classes = recipe.objective.network.classes
    data = random_splits(recipe.image, classes or 1)
    train(recipe, data, tmp_path / "run", device="cpu")
    # Reduced precisions have tests of their own, and take most of an export's time.
    artifact = export_run(tmp_path / "run", out=tmp_path / "artifacts", precisions=())
    with runtime.load(artifact, backend="onnxruntime") as model:
        assert model.manifest.parity
        made, manifest = model.sample(3, seed=0), model.manifest
        # A volume is trained on as the picture of its layers.
        assert made.reshape(3, -1, *made.shape[-2:]).shape == (3, *recipe.image.shape)
        assert bool(manifest.labels or manifest.vocabulary) == bool(classes)


def _kinds() -> list[str]:
    """A recipe for each kind of network and task: others differ in what is trained, or on what."""
    objectives = {name: RECIPES[name]().objective for name in TRANSLATORS}
    kinds = {(o.network.kind, getattr(o, "task", o.kind)): n for n, o in objectives.items()}
    return sorted(kinds.values())


@pytest.mark.parametrize("name", _kinds())
def test_trains_exports_and_translates(name: str, tmp_path: Path) -> None:
    recipe = narrow(RECIPES[name]())
    data = random_splits(recipe.image, recipe.classes or 1)
    train(recipe, data, tmp_path / "run", device="cpu")
    artifact = export_run(tmp_path / "run", out=tmp_path / "artifacts", precisions=())
    with runtime.load(artifact, backend="onnxruntime") as model:
        assert model.manifest.parity
        spec = model.manifest.graphs["translate"]
        images, *masks = (
            np.full((3, *tensor.at(model.manifest.default_size)), 200, np.uint8)
            for tensor in spec.inputs
        )
        made = model.translate(images, mask=masks[0] if masks else None)
        assert made.shape == (3, *recipe.image.shape)
