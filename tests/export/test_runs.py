"""One of our own runs, from the training loop's folder to an artifact."""

from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np
import pytest
import torch

import runtime
from export import ExportError, ImageSpec, export_run
from export.__main__ import main
from export.prior import add_prior
from runtime.artifact.reading import read_artifact
from runtime.images.encoding import encode_image
from runtime.requests.encode import takes_noise
from runtime.sampling.streams import Counter, Stream, normals
from train.data import load
from train.loop import train
from train.networks.dcgan import DCGANParams
from train.networks.iaf import IAFParams
from train.networks.layered import LayeredParams
from train.networks.vae import VAEParams
from train.recipes import Recipe
from train.recipes.mnist_cgan import mnist_cgan
from train.recipes.vae import digits_vae
from train.runs import load_run


def trained(recipe: Recipe, out: Path) -> Path:
    data = load(recipe.source, None, recipe.image)
    train(recipe, data, out, device="cpu")
    return out


def test_a_vae_run(tmp_path: Path) -> None:
    run = trained(replace(digits_vae(), steps=3, batch_size=8), tmp_path / "run")
    artifact = export_run(run, out=tmp_path / "artifacts")
    assert artifact == tmp_path / "artifacts" / "digits-vae" / "1"
    with runtime.load(artifact) as model:
        manifest = model.manifest
        images = model.sample(5, seed=0)
        assert model.reconstruct(images).shape == images.shape == (5, 8, 8, 1)
        latents = torch.from_numpy(model.latents(5, seed=0))
    # The run's floats are in [0, 1], and so they were taken.
    assert digits_vae().image.value_range == (0.0, 1.0)
    with torch.inference_mode():
        floats = load_run(run).decoder(latents).permute(0, 2, 3, 1).numpy()
    assert np.abs(images - np.rint(floats * 255)).max() <= 1
    assert manifest.kind == "vae"
    assert manifest.image().shape == digits_vae().image.shape
    assert manifest.provenance.source == "python -m train digits_vae"
    assert manifest.provenance.details["steps"] == 3
    assert manifest.provenance.versions["torch (training)"] == torch.__version__
    assert manifest.provenance.figures
    assert manifest.licence == load_run(run).data_licence
    card = (artifact / "README.md").read_text()
    assert all(f"| {figure} |" in card for figure in manifest.provenance.figures)
    assert str(manifest.provenance.details["data_checksum"]) in card
    assert str(tmp_path).encode() not in b"".join(f.read_bytes() for f in artifact.iterdir())


def test_a_run_with_a_flow(tmp_path: Path) -> None:
    objective = replace(digits_vae().objective, flow=IAFParams(steps=2, hidden=8, context=4))
    recipe = replace(digits_vae(), objective=objective, steps=3, batch_size=8)
    run = trained(recipe, tmp_path / "run")
    artifact = export_run(run, out=tmp_path / "artifacts", precisions=())
    with runtime.load(artifact) as model:
        manifest = model.manifest
        assert takes_noise(manifest)
        images = model.sample(37, seed=0)
        draw = model.encode(images, seed=5)
        alone = model.encode(images[:1], seed=5)
        assert model.reconstruct(images).shape == images.shape
    np.testing.assert_allclose(alone.latents, draw.latents[:1], atol=1e-4)
    encode = next(row for row in manifest.parity if row.graph == "encode")
    assert 0 < encode.max_difference < 1e-3
    # The module itself, given the noise that the seed stands for.
    encoder = load_run(run).encoder
    assert encoder is not None
    noise = normals(Counter(5, 0, 37), Stream.POSTERIOR_NOISE, 4)
    floats = torch.from_numpy(images.transpose(0, 3, 1, 2) / np.float32(255))
    latents, log_density = encoder(floats, torch.from_numpy(noise))
    np.testing.assert_allclose(draw.latents, latents.numpy(), atol=1e-4)
    np.testing.assert_allclose(draw.log_density, log_density.numpy(), atol=1e-3)
    assert "takes noise" in (artifact / "README.md").read_text()
    fitted = add_prior(artifact, images, components=3, precisions=())
    assert read_artifact(fitted).manifest.prior == "gaussian_mixture"


def test_a_run_of_several_stochastic_layers(tmp_path: Path) -> None:
    """The top layer is the latent, the others are noise of their own streams, from one seed."""
    objective = digits_vae().objective
    image = cast(VAEParams, objective.network)
    network = LayeredParams(image, above=(3, 2), hidden=(8, 8))
    recipe = replace(
        digits_vae(), objective=replace(objective, network=network), steps=3, batch_size=8
    )
    run = trained(recipe, tmp_path / "run")
    artifact = export_run(run, out=tmp_path / "artifacts", precisions=())
    with runtime.load(artifact) as model:
        decode = model.manifest.graphs["decode"]
        assert [(t.role, t.shape) for t in decode.inputs] == [
            ("latents", (2,)), ("noise", (3,)), ("noise", (4,))
        ]  # fmt: skip
        assert model.manifest.graphs.keys() == {"decode"}
        images = model.sample(37, seed=5)
        assert np.abs(model.sample(1, seed=5, offset=36).astype(int) - images[36:]).max() <= 1
        latents = torch.from_numpy(model.latents(37, seed=5))
    counter = Counter(5, 0, 37)
    noise = [
        torch.from_numpy(normals(counter, Stream.FURTHER_NOISE + number, size))
        for number, size in enumerate((3, 4))
    ]
    with torch.inference_mode():
        floats = load_run(run).decoder(latents, *noise).permute(0, 2, 3, 1).numpy()
    assert np.abs(images - np.rint(floats * 255)).max() <= 1
    assert images.std(axis=0).max() > 0


def test_what_was_measured_and_seen_goes_into_the_card(tmp_path: Path) -> None:
    run = trained(replace(digits_vae(), steps=1, batch_size=8), tmp_path / "run")
    picture = encode_image(np.zeros((4, 4, 1), np.uint8))
    (tmp_path / "near.png").write_bytes(picture)
    (tmp_path / "measured.json").write_text('{"figures": {"coverage": 0.25}}')
    options = ["--figures", f"{tmp_path}/measured.json", "--neighbours", f"{tmp_path}/near.png"]
    assert main(["run", str(run), "--out", str(tmp_path), *options, "--licence", "CC0-1.0"]) == 0
    with runtime.load(tmp_path / "digits-vae") as model:
        assert model.manifest.licence == "CC0-1.0"
        assert model.manifest.provenance.figures["coverage"] == 0.25
        assert "test_loss" in model.manifest.provenance.figures
    artifact = tmp_path / "digits-vae" / "1"
    assert (artifact / "neighbours.png").read_bytes() == picture
    card = (artifact / "README.md").read_text()
    assert "| coverage | 0.25 |" in card
    assert "(neighbours.png)" in card


@pytest.mark.parametrize("option", ["--figures", "--neighbours"])
def test_files_that_are_something_else_are_named(
    option: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "text").write_text("hello")
    with pytest.raises(SystemExit):
        main(["run", "runs/none", option, str(tmp_path / "text")])
    assert f"argument {option}: expected a" in capsys.readouterr().err


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
