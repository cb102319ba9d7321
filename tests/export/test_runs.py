"""One of our own runs, from the training loop's folder to an artifact."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

import runtime
from export import ExportError, ImageSpec, export_run
from train.data import load
from train.loop import train
from train.networks import DCGANParams
from train.recipes import Recipe, digits_vae, mnist_cgan
from train.runs import load_run


def trained(recipe: Recipe, out: Path) -> Path:
    data = load(recipe.source, None, recipe.image)
    train(recipe, data, out, device="cpu", progress=False)
    return out


def test_a_vae_run(tmp_path: Path) -> None:
    run = trained(replace(digits_vae(), steps=3, batch_size=8), tmp_path / "run")
    artifact = export_run(run, out=tmp_path / "artifacts")
    assert artifact == tmp_path / "artifacts" / "digits-vae" / "1"
    with runtime.load(artifact) as model:
        manifest = model.manifest
        images = model.sample(5, seed=0)
        assert model.reconstruct(images).shape == images.shape == (5, 8, 8, 1)
    assert manifest.kind == "vae"
    assert manifest.image == digits_vae().image
    assert manifest.provenance.source == "python -m train digits_vae"
    assert manifest.provenance.details["steps"] == 3
    assert manifest.provenance.versions["torch (training)"] == torch.__version__
    assert manifest.provenance.figures
    assert manifest.licence == load_run(run).data_licence
    card = (artifact / "README.md").read_text()
    assert all(f"| {figure} |" in card for figure in manifest.provenance.figures)
    assert str(manifest.provenance.details["data_checksum"]) in card
    assert str(tmp_path).encode() not in b"".join(f.read_bytes() for f in artifact.iterdir())


def test_a_conditional_gan_run(tmp_path: Path) -> None:
    network = DCGANParams(latent=6, height=8, width=8, channels=1, stages=1, classes=10)
    recipe = replace(
        mnist_cgan(),
        source="digits",
        image=ImageSpec(height=8, width=8, channels=1),
        objective=replace(mnist_cgan().objective, network=network, augmentation=()),
        steps=2,
        batch_size=8,
        precision="fp32",
    )
    run = trained(recipe, tmp_path / "run")
    artifact = export_run(run, out=tmp_path, name="digits-cgan", version=7)
    assert artifact == tmp_path / "digits-cgan" / "7"
    with runtime.load(artifact) as model:
        assert model.manifest.kind == "gan"
        assert model.manifest.labels == load_run(run).labels
        assert len(model.manifest.labels or ()) == 10
        assert model.sample(2, seed=0, labels="3").shape == (2, 8, 8, 1)


def test_a_folder_that_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"run\.json: expected a training run's record"):
        export_run(tmp_path, out=tmp_path / "artifacts")
    assert list(tmp_path.iterdir()) == []
