"""The VAE objective where the likelihood is known exactly: a linear decoder, Gaussian pixels."""

import math
from dataclasses import replace
from typing import cast

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from tests.train.conftest import random_splits, tiny_vae
from train.networks.iaf import FlowEncoder, IAFParams
from train.networks.vae import VAEParams
from train.objectives import ELBO, AdamParams
from train.objectives.elbo import VAEObjective
from train.training import Training

LOG_SCALE = math.log(0.5)


class LinearDecoder(nn.Module):
    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.weight = weight

    def forward(self, latents: Tensor) -> Tensor:
        return (latents @ self.weight.T).reshape(-1, 1, 2, 2)


class Posterior(nn.Module):
    """The true one, times `spread`: the columns of the weight are orthogonal, so it is diagonal."""

    def __init__(self, weight: Tensor, spread: float) -> None:
        super().__init__()
        precision = 1 + weight.square().sum(0) * math.exp(-2 * LOG_SCALE)
        self.gain = weight * math.exp(-2 * LOG_SCALE) / precision
        self.log_variance = -precision.log() + 2 * math.log(spread)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        mean = images.flatten(1) @ self.gain
        return mean, self.log_variance.expand_as(mean)


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
    model = nn.ModuleDict({"encoder": Posterior(weight, spread), "decoder": LinearDecoder(weight)})
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
    for name, weight in encoder.steps.named_parameters():
        if name.endswith("moments.weight"):
            nn.init.normal_(weight, std=0.3)
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
    training.objective.networks["encoder"].register_forward_pre_hook(
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
