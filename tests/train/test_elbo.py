"""The VAE objective where the likelihood is known exactly: a linear decoder, Gaussian pixels."""

import math
from collections.abc import Iterable
from dataclasses import replace
from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from tests.train.conftest import random_splits, tiny_vae
from train.metrics import importance_weighted_bound
from train.networks.iaf import AutoregressiveNetwork, FlowEncoder, IAFParams
from train.networks.layered import ChainEncoder, LadderEncoder, LayeredDecoder, LayeredParams
from train.networks.posterior import Posterior
from train.networks.vae import VAEParams
from train.objectives import ELBO, AdamParams
from train.objectives.elbo import VAEObjective
from train.training import Training

LOG_SCALE = math.log(0.5)


class LinearDecoder(nn.Module):
    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.weight = weight

    def logits(self, latents: Tensor) -> Tensor:
        return (latents @ self.weight.T).reshape(-1, 1, 2, 2)


class Gaussian(Posterior):
    """The true one, times `spread`: the columns of the weight are orthogonal, so it is diagonal."""

    def __init__(self, weight: Tensor, spread: float) -> None:
        super().__init__()
        precision = 1 + weight.square().sum(0) * math.exp(-2 * LOG_SCALE)
        self.gain = weight * math.exp(-2 * LOG_SCALE) / precision
        self.log_variance = -precision.log() + 2 * math.log(spread)

    def features(self, images: Tensor) -> Tensor:
        mean = images.flatten(1) @ self.gain
        return torch.cat([mean, self.log_variance.expand_as(mean)], dim=1)


def linear_vae(spread: float) -> tuple[VAEObjective, nn.ModuleDict, Tensor, Tensor]:
    """An objective, its model, images [B, 1, 2, 2] and their exact log p(x) [B]."""
    weight = torch.tensor([[1.0, 2.0], [1.0, -2.0], [0.5, 0.0], [0.0, 0.0]])
    weight[3, 0] = -1.0
    images = torch.randn(4, 1, 2, 2, generator=torch.Generator().manual_seed(1))
    covariance = weight @ weight.T + math.exp(2 * LOG_SCALE) * torch.eye(4)
    exact = torch.distributions.MultivariateNormal(torch.zeros(4), covariance)
    settings = ELBO(
        VAEParams(latent=2, height=2, width=2, widths=(), decoder_widths=(), sigmoid=False),
        AdamParams(1e-3),
        likelihood="gaussian",
        gaussian_log_scale=LOG_SCALE,
    )
    model = nn.ModuleDict({"encoder": Gaussian(weight, spread), "decoder": LinearDecoder(weight)})
    return settings.build(), model, images, exact.log_prob(images.flatten(1))


def test_weights_of_the_true_posterior_are_the_exact_likelihood() -> None:
    objective, model, images, exact = linear_vae(spread=1.0)
    for image, expected in zip(images, exact, strict=True):
        weights = objective.log_weights(model, image[None], torch.randn(7, 2))
        assert_close(weights, expected.expand(7), atol=1e-4, rtol=0)  # float32 sums


def test_the_elbo_falls_short_by_the_divergence_of_the_posteriors() -> None:
    objective, model, images, exact = linear_vae(spread=2.0)
    noise = torch.randn(20_000, 2, generator=torch.Generator().manual_seed(2))
    for image, expected in zip(images, exact, strict=True):
        weights = objective.log_weights(model, image[None], noise)
        # KL of two dimensions with twice the deviation; standard error 0.02 at 20,000 draws.
        gap = 4 - 1 - math.log(4)
        assert weights.mean().item() == pytest.approx(expected.item() - gap, abs=0.1)


def test_weights_of_a_flow_integrate_to_the_likelihood_too() -> None:
    """E_q[p(x, z) / q(z)] = p(x), whatever q is: here one that a flow has bent."""
    objective, model, images, exact = linear_vae(spread=1.0)
    bent = replace(objective.settings, flow=IAFParams(steps=2, hidden=8)).build()
    encoder = cast(FlowEncoder, bent.model["encoder"])
    for step in cast(Iterable[AutoregressiveNetwork], encoder.steps):
        nn.init.normal_(step.shift_and_gate.weight, std=0.3)
    model = nn.ModuleDict({"encoder": encoder, "decoder": model["decoder"]})
    noise = torch.randn(50_000, 2, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        weights = bent.log_weights(model, images[:1], noise).double()
    found = torch.logsumexp(weights, 0) - math.log(len(weights))
    assert found.item() == pytest.approx(exact[0].item(), abs=0.05)
    assert weights.std() > 0.5  # far from the true posterior: there is something to integrate


def test_binary_training_images_are_drawn_anew_with_the_grey_levels_as_means() -> None:
    recipe = tiny_vae()
    objective = replace(recipe.objective, binarise=True)
    training = Training(
        replace(recipe, objective=objective), random_splits(recipe.image), torch.device("cpu")
    )
    seen: list[Tensor] = []
    training.objective.networks.get_submodule("encoder.layers").register_forward_pre_hook(
        lambda _, inputs: seen.append(inputs[0])
    )
    grey = torch.tensor([0.0, 0.25, 1.0]).repeat(4000)[: 10_000 // 64 * 64].reshape(-1, 1, 8, 8)
    (phase,) = training.objective.phases.values()
    for _ in range(2):
        phase.losses(grey, torch.zeros(len(grey), dtype=torch.int64))
    first, second = seen
    assert first.unique().tolist() == [0.0, 1.0]
    assert not first[grey == 0].any()
    assert first[grey == 1].all()
    # 3,300 draws: standard error 0.0075.
    assert first[grey == 0.25].mean().item() == pytest.approx(0.25, abs=0.03)
    assert not torch.equal(first, second)


def test_binary_pixels_need_the_bernoulli_likelihood() -> None:
    with pytest.raises(ValueError, match="binarise: expected False without the Bernoulli"):
        ELBO(VAEParams(), AdamParams(1e-3), likelihood="gaussian", binarise=True)


def test_beta_rises_over_its_share_of_the_steps() -> None:
    recipe = replace(tiny_vae(), steps=10)
    objective = replace(recipe.objective, beta=2.0, warm_up=0.5)
    training = Training(
        replace(recipe, objective=objective), random_splits(recipe.image), torch.device("cpu")
    )
    found = []
    for _ in range(8):
        report = training.advance()
        nll, kl = report["elbo/reconstruction"], report["elbo/kl"]
        found.append((report["elbo/loss"] - nll) / kl)
    # Losses of about 50 in float32, a KL of about 0.1: two digits of the quotient are sure.
    assert found == pytest.approx([0.0, 0.4, 0.8, 1.2, 1.6, 2.0, 2.0, 2.0], abs=0.02)


def layered(ladder: bool) -> tuple[VAEObjective, nn.ModuleDict, Tensor, Tensor]:
    """Two layers, linear and Gaussian in prior and likelihood, an encoder that knows nothing of
    them, images [B, 1, 2, 2] and their exact log p(x) [B]."""
    image = VAEParams(
        2, height=2, width=2, widths=(), decoder_widths=(), hidden=8, depth=1, sigmoid=False
    )
    params = LayeredParams(image, above=(3,), hidden=(8,), ladder=ladder)
    objective = ELBO(params, AdamParams(1e-3), likelihood="gaussian", gaussian_log_scale=LOG_SCALE)
    built = objective.build()
    upper, spread = 0.5 * torch.randn(2, 3), torch.tensor([-0.5, 0.2])
    lower = torch.randn(4, 2)
    linear = nn.Linear(3, 4)
    with torch.no_grad():
        linear.weight.copy_(torch.cat([upper, torch.zeros(2, 3)]))
        linear.bias.copy_(torch.cat([torch.zeros(2), spread]))
    decoder = cast(LayeredDecoder, built.model["decoder"])
    decoder.priors[0], decoder.image = linear, cast(Any, LinearDecoder(lower))
    inner = lower @ (upper @ upper.T + torch.diag(spread.exp())) @ lower.T
    exact = torch.distributions.MultivariateNormal(
        torch.zeros(4), inner + math.exp(2 * LOG_SCALE) * torch.eye(4)
    )
    images = exact.sample((3,)).reshape(3, 1, 2, 2)
    return built, built.model, images, exact.log_prob(images.flatten(1))


@pytest.mark.parametrize("ladder", [True, False])
@torch.no_grad()
def test_weights_of_two_layers_integrate_to_the_likelihood(ladder: bool) -> None:
    objective, model, images, exact = layered(ladder)
    assert isinstance(model["encoder"], LadderEncoder if ladder else ChainEncoder)
    assert objective.noise == 5
    weights = objective.log_weights(model, images, torch.randn(3 * 40_000, 5)).double()
    found = importance_weighted_bound([weights.view(3, -1).numpy()])
    # The standard error of 40,000 draws from these untrained posteriors is below 0.05.
    assert found == pytest.approx(exact.numpy(), abs=0.15)
    assert (weights.view(3, -1).mean(1) < exact - 0.1).all()  # there is something to integrate


@pytest.mark.parametrize("ladder", [True, False])
@torch.no_grad()
def test_the_divergence_is_the_mean_of_the_log_ratio(ladder: bool) -> None:
    _, model, images, _ = layered(ladder)
    encoder = cast(Posterior, model["encoder"])
    features = encoder.features(images[:1]).expand(40_000, -1)
    draw = encoder.draw(features, torch.randn(40_000, 5), model["decoder"])
    assert draw.kl.mean().item() == pytest.approx(draw.log_ratio.mean().item(), abs=0.05)


@torch.no_grad()
def test_the_decoder_draws_what_the_posterior_of_the_prior_would() -> None:
    """From the top down, in the same order: a ladder that has found nothing is the prior."""
    _, model, _, _ = layered(ladder=True)
    encoder = cast(LadderEncoder, model["encoder"])
    nothing = torch.cat([torch.zeros(1, 6), torch.tensor([[0.0, 0.0, 80.0, 80.0]])], dim=1)
    noise = torch.randn(5, 5)
    draw = encoder.draw(nothing.expand(5, -1), noise, model["decoder"])
    decoder = cast(LayeredDecoder, model["decoder"])
    prior = decoder.priors[0](noise[:, :3])
    expected = prior[:, :2] + (0.5 * prior[:, 2:]).exp() * noise[:, 3:]
    assert_close(draw.latents, expected)
    assert_close(draw.log_ratio, torch.zeros(5), atol=1e-5, rtol=0)
    assert_close(draw.kl, torch.zeros(5), atol=1e-5, rtol=0)


def test_several_draws_make_the_importance_weighted_loss() -> None:
    objective, model, images, exact = linear_vae(spread=1.0)
    several = replace(objective.settings, draws=4).build()
    several.model = model
    labels = torch.zeros(4, dtype=torch.int64)
    # Of the true posterior every weight is p(x), so their mean is, too.
    assert_close(several.phases["elbo"].losses(images, labels)["loss"], -exact.mean())
    wide, model, _, _ = linear_vae(spread=2.0)
    losses = []
    for draws in (1, 100):
        built = replace(wide.settings, draws=draws).build()
        built.model = model
        many = images.repeat_interleave(50, dim=0)
        losses.append(built.phases["elbo"].losses(many, torch.zeros(200))["loss"].item())
    # The ELBO is 1.6 nats off (above), a hundred draws nearly nothing.
    assert losses[0] - 1.0 > losses[1] > -exact.mean().item() - 0.1


def test_during_the_warm_up_there_is_one_draw() -> None:
    objective, model, images, _ = linear_vae(spread=2.0)
    several = replace(objective.settings, draws=4, warm_up=0.5).build()
    several.model = model
    (phase,) = several.phases.values()
    assert phase.schedule is not None
    differences = []
    for progress in (0.25, 0.5):
        phase.schedule(progress)
        found = phase.losses(images, torch.zeros(4, dtype=torch.int64))
        differences.append(found["loss"] - found["reconstruction"] - several.beta * found["kl"])
    assert differences[0].item() == pytest.approx(0, abs=1e-4)
    assert differences[1].item() < -0.1
