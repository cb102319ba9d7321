"""Benchmarks of trained runs: likelihood, latent plane, disentanglement, each on a tiny run."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch

import runtime
from benchmarks.errors import UnfitError
from benchmarks.quality import disentanglement, layers, likelihood, manifold, prior
from benchmarks.quality.judge import load_classifier
from benchmarks.results import record
from export import ExportError, export_run
from export.prior import add_prior
from runtime.sampling.streams import Counter, Stream, normals
from tests import tiny
from tests.train.conftest import narrow as tiny_recipe
from tests.train.conftest import random_splits, tiny_gan, tiny_vae
from train.data.shapes import FACTORS
from train.loop import train
from train.networks.iaf import IAFParams
from train.networks.layered import LayeredParams
from train.networks.pixelcnn import PixelCNNParams
from train.networks.vae import VAEParams
from train.objectives import AdamParams, Autoregressive
from train.recipes import RECIPES, Recipe
from train.runs import load_run


@pytest.fixture(autouse=True)
def records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "records"
    folder.mkdir()
    monkeypatch.setattr(record, "FOLDER", folder)
    return folder


def trained(recipe: Recipe, out: Path) -> Path:
    train(recipe, random_splits(recipe.image, 1), out, device="cpu")
    return out


def narrow(recipe: Recipe) -> Recipe:
    network = replace(recipe.objective.network, widths=(), decoder_widths=(), hidden=8)
    return replace(
        recipe, objective=replace(recipe.objective, network=network), steps=2, batch_size=4
    )


def written(records: Path) -> dict[str, Any]:
    (measurement,) = json.loads((records / "it.json").read_text())["measurements"]
    return measurement["figures"]


@pytest.mark.parametrize("kind", ["gaussian", "flow", "layered"])
def test_likelihood_is_a_bound_whose_draws_belong_to_their_image(tmp_path: Path, kind: str) -> None:
    recipe = tiny_vae()
    flow = IAFParams(hidden=4) if kind == "flow" else None
    objective = replace(recipe.objective, flow=flow, binarise=True)
    if kind == "layered":
        image = cast(VAEParams, objective.network)
        layered = LayeredParams(image, above=(2, 1), hidden=(4, 4))
        objective = replace(objective, network=layered)
    recipe = replace(recipe, objective=objective)
    run = load_run(trained(recipe, tmp_path))
    images = random_splits(recipe.image).train.images[:3]
    labels = np.zeros(3, np.int64)
    weighted, elbo = likelihood.bounds(run, images, labels, k=30, seed=1)
    assert (weighted > elbo).all()  # Jensen, for any draws
    objective = recipe.objective.build()
    assert isinstance(objective, likelihood.VAEObjective)
    image = torch.from_numpy(images[:1].transpose(0, 3, 1, 2) / np.float32(255))
    # The ELBO of 30 draws and of 3,000 others differ by chance alone.
    many = objective.log_weights(run.model, image, torch.randn(3000, objective.noise))
    assert elbo[0] == pytest.approx(many.mean().item(), abs=5 * many.std().item() / 30**0.5)
    alone = likelihood.bounds(run, images[:1], labels[:1], k=30, seed=1)
    assert alone[0] == pytest.approx(weighted[:1])
    assert likelihood.bounds(run, images, labels, k=30, seed=2)[0] != pytest.approx(weighted)


def test_likelihood_needs_a_vae(tmp_path: Path) -> None:
    recipe = tiny_gan()
    train(recipe, random_splits(recipe.image), tmp_path, device="cpu")
    with pytest.raises(
        ValueError, match="tiny-gan: expected a VAE or an autoregressive model, found a gan"
    ):
        likelihood.bounds(
            load_run(tmp_path), np.zeros((1, 8, 8, 3), np.uint8), np.zeros(1, np.int64), 2, 0
        )


def test_likelihood_of_a_conditional_vae_is_given_the_labels(
    tmp_path: Path, records: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = tiny_vae()
    network = replace(recipe.objective.network, classes=10)
    recipe = replace(recipe, objective=replace(recipe.objective, network=network))
    data = random_splits(recipe.image, 10)
    train(recipe, data, tmp_path / "run", device="cpu")
    run = load_run(tmp_path / "run")
    with torch.no_grad():  # a label of its own for every decoder's first layer
        for parameter in run.decoder.parameters():
            parameter.normal_(generator=torch.Generator().manual_seed(0))
    assert data.test is not None
    images, labels = data.test.images[:2], np.array([3, 7])
    bound = likelihood.bounds(run, images, labels, k=20, seed=1)[0]
    other = likelihood.bounds(run, images, np.array([3, 4]), k=20, seed=1)[0]
    assert other[0] == bound[0]
    assert other[1] != pytest.approx(bound[1])
    monkeypatch.setattr(likelihood, "load", lambda *_, **__: data)
    likelihood.main([str(tmp_path / "run"), "--k", "3", "--images", "2", "--record", "it"])
    assert written(records)["images"] == 2


def test_likelihood_of_volumes_reads_them_as_they_were_trained_on(
    tmp_path: Path, records: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run's image is a layer of them."""
    recipe = tiny_recipe(RECIPES["furniture_vae"]())
    out = tmp_path / "run"
    data = random_splits(recipe.image, recipe.classes)
    train(recipe, data, out, device="cpu")
    asked = []
    monkeypatch.setattr(likelihood, "load", lambda *a, **__: asked.append(a) or data)
    likelihood.main([str(out), "--k", "2", "--images", "2", "--record", "it"])
    assert asked[0][2] == recipe.image
    assert written(records)["images"] == 2


def test_likelihood_without_images_held_out_says_how_to_have_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = tiny_vae()
    data = replace(random_splits(recipe.image), test=None)
    train(recipe, data, tmp_path / "run", device="cpu")
    monkeypatch.setattr(likelihood, "load", lambda *_, **__: data)
    with pytest.raises(SystemExit):
        likelihood.main([str(tmp_path / "run")])
    assert "found none: train with --validation N" in capsys.readouterr().err


def test_disentanglement_refuses_a_run_of_other_images(tmp_path: Path) -> None:
    run = load_run(trained(tiny_vae(), tmp_path))
    with pytest.raises(UnfitError, match=r"expected a run of images \(32, 32, 1\).* found \(8, 8,"):
        disentanglement.encoded(run, np.zeros((1, 32, 32, 1), np.uint8))


def test_likelihood_of_an_autoregressive_run_is_the_loss_itself(
    tmp_path: Path, records: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = replace(
        RECIPES["mnist_pixelcnn"](),
        image=tiny_vae().image,
        objective=Autoregressive(
            PixelCNNParams(8, 8, features=2, layers=2, head=2), AdamParams(1e-3)
        ),
        steps=2,
        batch_size=4,
    )
    data = random_splits(recipe.image)
    assert data.test is not None
    binary = replace(data.test, images=np.where(data.test.images > 127, 255, 0).astype(np.uint8))
    data = replace(data, test=binary)
    figures = train(recipe, data, tmp_path / "run", device="cpu")
    monkeypatch.setattr(likelihood, "load", lambda *_, **__: data)
    likelihood.main([str(tmp_path / "run"), "--record", "it"])
    assert written(records)["exact"] == pytest.approx(figures["test_loss"], rel=1e-5)
    assert written(records)["images"] == 24
    with pytest.raises(ExportError, match="one for each of 64 pixels: it is not served"):
        export_run(tmp_path / "run", out=tmp_path)


def test_likelihood_records_what_it_measured(tmp_path: Path, records: Path) -> None:
    recipe = replace(tiny_vae(), source="digits")
    out = trained(recipe, tmp_path / "run")
    likelihood.main([str(out), "--k", "20", "--images", "5", "--record", "it"])
    figures = written(records)
    assert figures["images"] == 5
    assert figures["iw_20"] < figures["negative_elbo"]


def test_manifold_counts_classes_of_what_is_served(tmp_path: Path, records: Path) -> None:
    out = trained(narrow(RECIPES["mnist_vae_2d"]()), tmp_path / "run")
    manifold.main([str(out), "--out", str(tmp_path / "grid.png"), "--record", "it"])
    figures = written(records)
    assert 0 <= figures["sure_on_grid"] <= 1
    assert 0 <= figures["classes_on_grid"] <= 10
    assert (tmp_path / "grid.png").is_file()


def test_both_priors_are_judged_as_served(tmp_path: Path) -> None:
    run = trained(narrow(RECIPES["mnist_vae_wide"]()), tmp_path / "run")
    artifact = export_run(run, out=tmp_path, precisions=())
    images = np.random.default_rng(0).integers(0, 256, (200, 28, 28, 1), dtype=np.uint8)
    fitted = add_prior(artifact, images, components=2, precisions=())
    with runtime.load(artifact) as one, runtime.load(fitted) as other:
        classifier = load_classifier("mnist")
        figures, picture = prior.compare(
            one, other, classifier, images, images, n=100, seeds=range(2)
        )
        samples = [classifier(other.sample(100, seed=seed))[0] for seed in range(2)]
    assert figures["sure_mixture"] == pytest.approx(
        np.mean([(found.max(axis=1) >= 0.9).mean() for found in samples])
    )
    assert figures["frechet_ratio"] == figures["frechet_mixture"] / figures["frechet_normal"]
    assert figures["frechet_normal_deviation"] > 0
    assert picture.shape == (280, 280 + prior.GAP + 280, 1)


def test_disentanglement_knows_the_factors(tmp_path: Path, records: Path) -> None:
    out = trained(narrow(RECIPES["shapes_beta_vae"]()), tmp_path / "run")
    disentanglement.main([str(out), "--out", str(tmp_path / "z.png"), "--record", "it"])
    figures = written(records)
    assert 0 <= figures["mutual_information_gap"] < 1
    assert all(figures[f"information_{name}"] > 0 for name in FACTORS)
    assert (tmp_path / "z.png").is_file()


def test_traversals_move_one_dimension(tmp_path: Path) -> None:
    run = load_run(trained(narrow(RECIPES["shapes_beta_vae"]()), tmp_path))
    centre = np.zeros(8)
    images = disentanglement.traversals(run, centre)
    assert images.shape == (8, disentanglement.COLUMNS, 32, 32)
    moved = torch.zeros(1, 8)
    moved[0, 3] = -1.6448536  # the 5% quantile of N(0, 1)
    assert images[3, 0] == pytest.approx(run.decoder(moved)[0, 0].numpy(), abs=1e-6)


def test_a_layer_drawn_again_leaves_the_others_as_they_are(tmp_path: Path, records: Path) -> None:
    run = tmp_path / "run"
    recipe = tiny_recipe(RECIPES["mnist_ladder"]())
    train(recipe, random_splits(recipe.image), run, device="cpu")
    artifact = export_run(run, out=tmp_path, precisions=())
    trained_run = load_run(run)
    with runtime.load(artifact) as model:
        assert list(layers.layers_of(model)) == [5, 4, 3, 2, 1]
        again = model.run(layers.Redrawn(3, 1, "noise_2", 9))
        latents = torch.from_numpy(model.latents(3, seed=1))
        sheet = layers.sheet(model, seed=1)
        assert sheet.shape == (layers.SHOWN * 5 * layers.COLUMNS, 28, 28, 1)
        np.testing.assert_array_equal(sheet[0], sheet[layers.COLUMNS])
        np.testing.assert_array_equal(sheet[0], model.sample(1, seed=1)[0])
    noise = [
        torch.from_numpy(normals(Counter(9 if n == 2 else 1, 0, 3), Stream.FURTHER_NOISE + n, size))
        for n, size in enumerate(trained_run.noise)
    ]
    with torch.no_grad():
        expected = trained_run.decoder(latents, *noise).permute(0, 2, 3, 1).numpy() * 255
    assert np.abs(again - np.rint(expected)).max() <= 1
    out = tmp_path / "layers.png"
    layers.main([str(artifact), "--n", "20", "--out", str(out), "--record", "it"])
    figures = written(records)
    assert all(0 <= figures[f"class_kept_layer_{n}"] <= 1 for n in range(1, 6))
    assert figures["moved_layer_1"] > 0
    assert out.is_file()


def test_a_decoder_without_noise_has_no_layers(tmp_path: Path) -> None:
    with (
        runtime.load(tiny.write_artifact(tmp_path, "plain")) as model,
        pytest.raises(ValueError, match="expected a decoder that takes noise beside its latents"),
    ):
        layers.layers_of(model)
