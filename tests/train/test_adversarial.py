"""Adversarial objectives: each switch does what it says, and only that."""

from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from tests.train.conftest import random_splits, tiny_gan
from train import losses
from train.networks.dcgan import DCGANParams
from train.objectives import Adversarial
from train.objectives.adversarial import GANObjective
from train.objectives.history import WeightHistory
from train.recipes import Recipe
from train.training import Training

PLAIN = DCGANParams(
    latent=4,
    height=8,
    width=8,
    stages=2,
    discriminator_stages=2,
    generator_width=4,
    discriminator_width=4,
)


def recipe(network: dict[str, Any] | None = None, **switches: Any) -> Recipe:
    objective = Adversarial(replace(PLAIN, **network or {}), **switches)
    return replace(tiny_gan(), objective=objective, batch_size=4)


def training(*arguments: Any, **switches: Any) -> Training:
    made = recipe(*arguments, **switches)
    return Training(made, random_splits(made.image), torch.device("cpu"))


def batch() -> tuple[Tensor, Tensor]:
    return torch.rand(4, 3, 8, 8) * 2 - 1, torch.tensor([0, 1, 2, 0])


def objective(**switches: Any) -> GANObjective:
    """The same weights whatever the switches."""
    torch.manual_seed(1)
    return recipe(**switches).objective.build()  # pyright: ignore[reportReturnType]


def phase(made: GANObjective, name: str) -> dict[str, Tensor]:
    torch.manual_seed(2)
    return made.phases[name].losses(*batch())


@pytest.mark.parametrize("loss", losses.ADVERSARIAL)
def test_every_loss_trains_both_networks(loss: str) -> None:
    run = training(loss=loss)
    before = {name: value.clone() for name, value in run.objective.networks.state_dict().items()}
    run.advance()
    after = run.objective.networks.state_dict()
    for name in ("generator.layers.0.weight", "discriminator.layers.0.weight"):
        assert not torch.equal(before[name], after[name])


def test_a_critic_steps_ahead_of_its_generator() -> None:
    run = training(loss="wasserstein", critic_steps=3)
    weight = run.objective.networks["generator"].get_parameter("layers.0.weight")
    reports, weights = [], [weight.detach().clone()]
    for _ in range(6):
        reports.append(run.advance())
        weights.append(weight.detach().clone())
    assert ["generator/loss" in report for report in reports] == 2 * [False, False, True]
    assert all("discriminator/loss" in report for report in reports)
    moved = [not torch.equal(a, b) for a, b in pairwise(weights)]
    assert moved == 2 * [False, False, True]


def test_clipped_weights_stay_within_their_bound() -> None:
    run = training(loss="wasserstein", weight_clip=0.01)
    run.advance()
    networks = run.objective.networks
    bounds = [p.abs().max().item() for p in networks["discriminator"].parameters()]
    assert max(bounds) == pytest.approx(0.01)
    assert max(p.abs().max().item() for p in networks["generator"].parameters()) > 0.01


@pytest.mark.parametrize("name", ["r1", "r2", "gradient_penalty"])
def test_a_penalty_is_added_with_its_weight(name: str) -> None:
    plain = phase(objective(), "discriminator")
    penalised = phase(objective(**{name: 3.0}), "discriminator")
    assert penalised.keys() - plain.keys() == {name}
    assert penalised[name] > 0
    assert_close(penalised["loss"], plain["loss"] + 3.0 * penalised[name])


def test_a_pack_is_one_point_on_the_line_to_a_real_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its images at places of their own would be off the line, where the penalty is not meant."""
    made = recipe({"pack": 2}, gradient_penalty=1.0).objective.build()
    assert isinstance(made, GANObjective)
    judge, seen = made.discriminator.judge, []

    def judged(images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        seen.append(images.detach())
        return judge(images, labels)

    monkeypatch.setattr(made.discriminator, "judge", judged)
    monkeypatch.setattr(made, "_fakes", lambda labels: torch.zeros(8, 3, 8, 8))
    made.phases["discriminator"].losses(torch.ones(8, 3, 8, 8), torch.zeros(8, dtype=torch.int64))
    first, second = seen[-1][:, 0, 0, 0].view(4, 2).unbind(1)
    assert torch.equal(first, second)
    assert len(first.unique()) == 4


def test_r1_is_of_real_images_and_r2_of_generated_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    """A score of sum(x)^2 / 2 has the slope sum(x) at every pixel, and so tells its images."""
    made = objective(r1=1.0, r2=1.0)
    fakes = torch.full((4, 3, 8, 8), 0.5)

    def judge(images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        return 0.5 * images.flatten(1).sum(1).square(), images.flatten(1)

    monkeypatch.setattr(made.discriminator, "judge", judge)
    monkeypatch.setattr(made, "_fakes", lambda labels: fakes)
    found = phase(made, "discriminator")
    torch.manual_seed(2)
    real, _ = batch()
    for name, images in (("r1", real), ("r2", fakes)):
        expected = 0.5 * (images[0].numel() * images.flatten(1).sum(1).square()).mean()
        assert_close(found[name], expected)


def test_paired_losses_read_real_scores() -> None:
    loss = phase(objective(loss="relativistic"), "generator")["loss"]
    # Fresh scores are small: both sides of every pair are nearly alike.
    assert loss.item() == pytest.approx(np.log(2), abs=0.05)


def test_matched_features_cost_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    made = objective(feature_matching=True)
    apart = phase(made, "generator")["loss"]
    torch.manual_seed(2)
    real, _ = batch()
    monkeypatch.setattr(made, "_fakes", lambda labels: real)
    assert phase(made, "generator")["loss"].item() == 0 < apart.item()


def test_feature_matching_is_the_squared_distance_of_the_means() -> None:
    real, fake = torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.tensor([[0.0, 0.0]])
    assert losses.feature_matching(real, fake).item() == 4 + 9


def test_history_is_the_mean_of_all_weights_so_far() -> None:
    layer = nn.Linear(2, 1, bias=False)
    history = WeightHistory(layer)
    seen = []
    for step in range(4):
        with torch.no_grad():
            layer.weight.copy_(torch.tensor([[float(step), step**2]]))
        seen.append(layer.weight.detach().clone())
        distance = history(layer)
        mean = torch.stack(seen).mean(dim=0)
        assert_close(distance, (layer.weight - mean).square().sum())
    (pull,) = torch.autograd.grad(distance, layer.weight)
    assert_close(pull, 2 * (layer.weight - mean).detach())


def test_historical_averaging_is_added_to_both_players() -> None:
    run = training(historical_averaging=10.0)
    assert run.advance()["generator/history"] == 0  # the first weights are their own mean
    report = run.advance()
    assert report["generator/history"] > 0
    assert report["discriminator/history"] > 0


def test_an_auxiliary_classifier_learns_from_real_and_generated_images() -> None:
    made = objective(network={"classes": 3, "discriminator_labels": "classify"}, auxiliary=2.0)
    found = phase(made, "discriminator")
    # Fresh logits are small, so that three classes cost about log 3 nats.
    for name in ("real_class", "fake_class"):
        assert found[name].item() == pytest.approx(np.log(3), abs=0.2)
    whole = losses.discriminator_cross_entropy  # its own part is about log 4, twice log 3 twice
    assert whole is made.loss.discriminator
    assert found["loss"].item() == pytest.approx(np.log(4) + 4 * np.log(3), abs=0.8)
    generator = phase(made, "generator")
    assert generator["loss"].item() == pytest.approx(np.log(2) + 2 * np.log(3), abs=0.5)


def test_packs_are_scored_together() -> None:
    made = objective(network={"pack": 2})
    images, labels = batch()
    scores = made.discriminator(images, labels)
    assert scores.shape == (2,)
    assert_close(made.discriminator(images[[2, 3, 0, 1]], labels), scores.flip(0))
    assert not torch.allclose(made.discriminator(images[[0, 2, 1, 3]], labels), scores)


def test_settings_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="pack: expected 1 for a conditional network, found 2"):
        replace(PLAIN, pack=2, classes=3)
    with pytest.raises(ValueError, match="generator_norm: expected batch norm in a conditional"):
        replace(PLAIN, generator_norm="virtual", classes=3)
    with pytest.raises(ValueError, match="expected 0 with the least_squares loss"):
        Adversarial(PLAIN, loss="least_squares", label_smoothing=0.1)


def test_settings_that_mean_nothing_together_are_refused() -> None:
    with pytest.raises(ValueError, match="feature_matching: expected False with the relativistic"):
        Adversarial(PLAIN, loss="relativistic", feature_matching=True)
    with pytest.raises(ValueError, match="critic_steps: expected at least 1, found 0"):
        Adversarial(PLAIN, critic_steps=0)
    normed = replace(PLAIN, discriminator_norm="batch")
    for network in (normed, replace(PLAIN, minibatch_deviation=True)):
        for penalty in ("r1", "r2", "gradient_penalty"):
            with pytest.raises(ValueError, match="expected 0 where the discriminator has batch"):
                replace(Adversarial(network), **{penalty: 1.0})
