"""GANs with an encoder: which error reaches which network, and runs that export and are served."""

from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

import runtime
from export import export_run
from tests.train.conftest import random_splits, tiny_vae
from train import checkpoint, losses
from train.loop import train
from train.networks.dcgan import DCGANParams
from train.networks.encoded_gan import EncodedGANParams
from train.objectives import ELBO, AdamParams, Hybrid
from train.objectives.hybrid import HybridObjective
from train.options import Options, build
from train.recipes import Recipe
from train.training import Training

GAN = DCGANParams(
    latent=4,
    height=8,
    width=8,
    channels=1,
    stages=2,
    discriminator_stages=2,
    generator_width=4,
    discriminator_width=4,
    discriminator_norm="spectral",
)
NETWORK = EncodedGANParams(GAN, widths=(4,), hidden=8)
KINDS: dict[str, dict[str, Any]] = {
    "vae_gan": {"compare": "features", "match": "divergence"},
    "alpha_gan": {"compare": "pixels", "match": "codes", "code_hidden": 8},
}


def recipe(kind: str, **changes: Any) -> Recipe:
    settings = {"network": NETWORK, **KINDS[kind], **changes}
    image = tiny_vae().image.model_copy(update={"value_range": (-1.0, 1.0)})
    changed = {"name": f"tiny_{kind}", "image": image, "ema_decay": 0.9}
    return replace(tiny_vae(), objective=Hybrid(**settings), **changed)


def objective(kind: str, **changes: Any) -> HybridObjective:
    torch.manual_seed(1)
    return HybridObjective(cast(Hybrid, recipe(kind, **changes).objective))


def batch() -> tuple[Tensor, Tensor]:
    torch.manual_seed(2)
    return torch.rand(4, 1, 8, 8) * 2 - 1, torch.zeros(4, dtype=torch.int64)


def phase(made: HybridObjective, name: str) -> dict[str, Tensor]:
    images, labels = batch()
    torch.manual_seed(3)
    return made.phases[name].losses(images, labels)


@pytest.mark.parametrize("kind", KINDS)
def test_every_network_trains_in_its_own_phase(kind: str) -> None:
    made = recipe(kind)
    run = Training(made, random_splits(made.image), torch.device("cpu"))
    before = {name: value.clone() for name, value in run.objective.networks.named_parameters()}
    report = run.advance()
    after = dict(run.objective.networks.named_parameters())
    assert all(not torch.equal(before[name], after[name]) for name in before if "weight" in name)
    phases = {"discriminator", "encoder", "generator"} | (
        {"codes"} if kind == "alpha_gan" else set()
    )
    assert {name.split("/")[0] for name in report} == phases
    owned = [id(p) for phase in run.objective.phases.values() for p in phase.module.parameters()]
    assert sorted(owned) == sorted(id(p) for p in run.objective.networks.parameters())


def test_what_a_perfect_reconstruction_costs_is_nothing() -> None:
    images, labels = batch()
    for kind in KINDS:
        made = objective(kind)
        made.discriminator.eval()  # spectral norm stays as it is between the two passes
        assert made._error(images, images, labels).item() == 0
        assert made._error(-images, images, labels).item() > 0
    shifted = objective("alpha_gan")._error(images + 0.5, images, labels)
    assert_close(shifted, torch.tensor(0.5 * 64))  # absolute, summed over the pixels of an image


def test_features_are_compared_by_half_their_squared_distance() -> None:
    made = objective("vae_gan")
    made.discriminator.eval()
    images, labels = batch()
    found, wanted = (made.discriminator.judge(x, labels)[1] for x in (-images, images))
    expected = 0.5 * (found - wanted).square().sum(1).mean()
    assert_close(made._error(-images, images, labels), expected)


def test_losses_are_weighted_sums_of_their_parts() -> None:
    for kind in KINDS:
        made = objective(kind, encoder_weight=3.0, generator_weight=5.0)
        encoder, generator = phase(made, "encoder"), phase(made, "generator")
        assert_close(encoder["loss"], 3 * encoder["error"] + encoder["prior"])
        assert_close(generator["loss"], 5 * generator["error"] + generator["realism"])
        assert (encoder["prior"].item() == encoder["kl"].item()) == (kind == "vae_gan")


def test_a_discriminator_of_codes_tells_them_from_the_prior() -> None:
    made = objective("alpha_gan")
    with torch.no_grad():
        made.encoder.get_parameter("moments.bias")[:4] = 6.0  # far from N(0, 1)
    optimizer = torch.optim.Adam(made.phases["codes"].module.parameters(), 1e-2)
    for _ in range(60):
        found = phase(made, "codes")
        optimizer.zero_grad()
        found["loss"].backward()
        optimizer.step()
    assert found["loss"].item() < 0.1
    assert found["drawn"].item() > 2 > -2 > found["encoded"].item()
    # What the encoder pays is what its codes look like.
    paid = phase(made, "encoder")["prior"].item()
    assert paid == pytest.approx(losses.generator_non_saturating(found["encoded"]).item(), rel=0.2)


def test_half_of_what_is_judged_is_rebuilt(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the discriminator's score reconstructions and samples count alike."""
    made = objective("vae_gan")
    seen: list[int] = []
    monkeypatch.setattr(
        made, "_score", lambda images, labels: seen.append(len(images)) or images.flatten(1).sum(1)
    )
    phase(made, "discriminator")
    assert seen == [4, 8]


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_ends_with_figures_and_goes_on_as_if_never_stopped(kind: str, tmp_path: Path) -> None:
    made = recipe(kind)
    data = random_splits(made.image)
    metrics = train(made, data, tmp_path / "whole", device="cpu")
    assert set(metrics) == {"test_error", "test_kl"}
    assert 0 < metrics["test_error"] < 2
    train(made, data, tmp_path / "parts", device="cpu", until=3)
    train(made, data, tmp_path / "parts", device="cpu", resume=True)
    whole, parts = (
        checkpoint.load(tmp_path / p / "checkpoints").tensors for p in ("whole", "parts")
    )
    assert whole.keys() == parts.keys()
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


@pytest.mark.parametrize("kind", KINDS)
def test_all_requests_of_an_encoder_are_served(kind: str, tmp_path: Path) -> None:
    made = recipe(kind)
    images = random_splits(made.image).train.images[:3]
    train(made, random_splits(made.image), tmp_path / "run", device="cpu")
    artifact = export_run(tmp_path / "run", out=tmp_path, precisions=())
    with runtime.load(artifact, backend="onnxruntime") as model:
        assert model.manifest.kind == "hybrid"
        assert {row.graph for row in model.manifest.parity} == {"decode", "encode"}
        posterior = model.encode(images)
        remade, decoded = model.reconstruct(images), model.decode(posterior.mean)
        # fp32 in another batch: one grey level.
        assert np.abs(remade.astype(int) - decoded).max() <= 1
        first, second = posterior.mean[0], posterior.mean[1]
        assert model.interpolate(first, second, 4).shape == (4, *made.image.shape)
        assert model.sample(2, seed=1).shape == (2, *made.image.shape)


def test_a_conditional_one_decodes_by_label(tmp_path: Path) -> None:
    network = replace(NETWORK, gan=replace(GAN, classes=3))
    made = recipe("vae_gan", network=network)
    train(made, random_splits(made.image), tmp_path / "run", device="cpu")
    artifact = export_run(tmp_path / "run", out=tmp_path, precisions=())
    with runtime.load(artifact, backend="onnxruntime") as model:
        one, other = (model.sample(1, seed=0, labels=f"class {label}") for label in (0, 1))
        assert not np.array_equal(one, other)


def test_a_vae_has_the_same_encoder_and_decoder() -> None:
    torch.manual_seed(1)
    vae = ELBO(NETWORK, AdamParams(1e-3), likelihood="gaussian").build()
    shapes = {name: value.shape for name, value in vae.model.state_dict().items()}
    hybrid = objective("vae_gan").model.state_dict()
    assert shapes == {name: value.shape for name, value in hybrid.items()}


def test_settings_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="loss: expected one of non_saturating.*'relativistic'"):
        recipe("vae_gan", loss="relativistic")
    with pytest.raises(ValueError, match="dropout: expected 0 where features are compared"):
        recipe("vae_gan", network=replace(NETWORK, gan=replace(GAN, dropout=0.1)))
    with pytest.raises(ValueError, match="gan: expected a discriminator that judges one image"):
        replace(NETWORK, gan=replace(GAN, pack=2))
    with pytest.raises(ValueError, match=r"network\.sigmoid: expected True"):
        ELBO(NETWORK, AdamParams(1e-3))


def test_the_learning_rate_is_that_of_the_generator() -> None:
    objective = cast(Hybrid, build("mnist_vae_gan", Options(learning_rate=1e-5)).objective)
    rates = {objective.encoder.learning_rate, objective.generator.learning_rate}
    assert rates == {objective.discriminator.learning_rate} == {1e-5}
