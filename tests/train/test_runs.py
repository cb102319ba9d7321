"""load_run: from a run folder to the modules that export reads."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.testing import assert_close

from tests.train.conftest import random_splits, tiny_gan, tiny_vae
from train import checkpoint
from train.errors import RunError
from train.loop import train
from train.networks.iaf import IAFParams
from train.recipes import Recipe
from train.runs import load_run


def trained(recipe: Recipe, out: Path, **options) -> Path:
    train(recipe, random_splits(recipe.image), out, device="cpu", **options)
    return out


def test_a_vae(tmp_path: Path) -> None:
    run = load_run(trained(tiny_vae(), tmp_path))
    assert (run.name, run.kind, run.latent, run.labels) == ("tiny-vae", "vae", (2,), None)
    assert run.image == tiny_vae().image
    assert run.data_licence == "generated"
    assert not run.decoder.training
    images = run.decoder(torch.randn(3, 2))
    assert images.shape == (3, 1, 8, 8)
    assert 0 <= images.min() <= images.max() <= 1
    assert run.encoder is not None
    assert not run.encoder_takes_noise
    mean, log_variance = run.encoder(images)
    assert mean.shape == log_variance.shape == (3, 2)


def test_a_vae_with_a_flow(tmp_path: Path) -> None:
    recipe = tiny_vae()
    flowing = replace(recipe, objective=replace(recipe.objective, flow=IAFParams(hidden=4)))
    run = load_run(trained(flowing, tmp_path))
    assert run.encoder is not None
    assert run.encoder_takes_noise
    images, noise = run.decoder(torch.randn(3, 2)), torch.randn(3, 2)
    latents, log_density = run.encoder(images, noise)
    assert (latents.shape, log_density.shape) == ((3, 2), (3,))
    assert run.recipe == flowing


def test_a_conditional_gan(tmp_path: Path) -> None:
    run = load_run(trained(tiny_gan(), tmp_path))
    assert (run.name, run.kind, run.latent) == ("tiny-gan", "gan", (4,))
    assert run.labels == ("class 0", "class 1", "class 2")
    assert run.encoder is None
    latents, labels = torch.randn(4, 4), torch.tensor([0, 1, 2, 0])
    images = run.decoder(latents, labels)
    assert images.shape == (4, 3, 8, 8)
    assert -1 <= images.min() <= images.max() <= 1
    # Eval mode: an image does not depend on the batch it is in. 1e-6: sums in another order.
    assert_close(run.decoder(latents[:1], labels[:1]), images[:1], atol=1e-6, rtol=0)
    assert not torch.equal(run.decoder(latents, (labels + 1) % 3), images)


def test_averaged_weights_are_the_ones_that_load(tmp_path: Path) -> None:
    run = load_run(trained(tiny_gan(), tmp_path))
    tensors = checkpoint.load(tmp_path / "checkpoints").tensors
    averaged = dict(run.decoder.state_dict())["layers.0.weight"]
    assert torch.equal(averaged, tensors["model.decoder.layers.0.weight"])
    assert not torch.equal(averaged, tensors["networks.generator.layers.0.weight"])


def test_provenance_says_where_the_weights_come_from(tmp_path: Path) -> None:
    provenance = load_run(trained(tiny_vae(), tmp_path)).provenance
    assert json.loads(json.dumps(provenance)) == provenance
    assert provenance["recipe"] == "tiny_vae"
    assert provenance["params"]["objective"]["network"]["latent"] == 2
    assert provenance["data"] == "random"
    assert (provenance["images"], provenance["batch_size"], provenance["steps"]) == (24, 10, 6)
    assert "cores" in provenance["machine"]
    assert provenance["metrics"]["test_loss"] > 0


def test_an_earlier_checkpoint_has_its_own_steps_and_no_figures(tmp_path: Path) -> None:
    run = load_run(trained(tiny_vae(), tmp_path), step=4)
    assert run.provenance["steps"] == 4
    assert run.provenance["metrics"] == {}


def test_an_unfinished_run_loads(tmp_path: Path) -> None:
    assert load_run(trained(tiny_vae(), tmp_path, until=3)).provenance["steps"] == 3


def test_a_folder_that_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"run\.json: expected a training run's record"):
        load_run(tmp_path)
    (tmp_path / "run.json").write_text('{"recipe": {"name": "x"}}')
    with pytest.raises(RunError, match=r"run\.json: expected a training run's record"):
        load_run(tmp_path)


def test_a_setting_that_is_unknown_is_not_left_out(tmp_path: Path) -> None:
    trained(tiny_vae(), tmp_path)
    file = tmp_path / "run.json"
    record = json.loads(file.read_text())
    record["recipe"]["objective"]["network"]["renamed"] = 1
    file.write_text(json.dumps(record))
    with pytest.raises(RunError, match=r"(?s)network\.vae\.renamed.*Unexpected"):
        load_run(tmp_path)


def test_weights_of_another_network(tmp_path: Path) -> None:
    trained(tiny_vae(), tmp_path)
    text = (tmp_path / "run.json").read_text()
    (tmp_path / "run.json").write_text(text.replace('"hidden": 8', '"hidden": 9'))
    with pytest.raises(RunError, match="expected the weights of tiny_vae"):
        load_run(tmp_path)


def test_uniform_latents_are_made_of_normal_ones(tmp_path: Path) -> None:
    recipe = replace(tiny_gan(), objective=replace(tiny_gan().objective, prior="uniform"))
    run = load_run(trained(recipe, tmp_path))
    # Quantiles of N(0, 1) -> the same quantiles of the uniform distribution on [-1, 1].
    normal = torch.tensor([-1.2816, -0.6745, 0.0, 0.6745, 1.2816])[:, None].expand(5, *run.latent)
    uniform = torch.tensor([-0.8, -0.5, 0.0, 0.5, 0.8])[:, None].expand(5, *run.latent)
    labels = [torch.zeros(5, dtype=torch.int64)] * (run.labels is not None)
    expected = run.model["decoder"](uniform, *labels)
    assert_close(run.decoder(normal, *labels), expected, atol=1e-4, rtol=0)
