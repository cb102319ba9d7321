"""Losses against torch.distributions and closed forms.

Tolerance 1e-5 relative: both sides are float32 sums of at most a few hundred terms.
"""

import math

import pytest
import torch
from torch import distributions
from torch.testing import assert_close

from train import losses


@pytest.fixture
def logits() -> torch.Tensor:
    return torch.randn(5, 1, 4, 3, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def images() -> torch.Tensor:
    return torch.rand(5, 1, 4, 3, generator=torch.Generator().manual_seed(2))


def test_bernoulli_nll_of_binary_pixels_is_the_distribution_s(
    logits: torch.Tensor, images: torch.Tensor
) -> None:
    binary = images.round()
    expected = -distributions.Bernoulli(logits=logits).log_prob(binary).flatten(1).sum(1)
    assert_close(losses.bernoulli_nll(logits, binary), expected)


def test_bernoulli_nll_of_a_grey_pixel_is_the_mean_over_its_binary_draws() -> None:
    logit, grey = torch.full((1, 1, 1, 1), 0.7), torch.full((1, 1, 1, 1), 0.3)
    on, off = (losses.bernoulli_nll(logit, torch.full_like(logit, v)) for v in (1.0, 0.0))
    assert_close(losses.bernoulli_nll(logit, grey), 0.3 * on + 0.7 * off)


def test_gaussian_nll_is_the_distribution_s(logits: torch.Tensor, images: torch.Tensor) -> None:
    expected = -distributions.Normal(logits, math.exp(-1.5)).log_prob(images).flatten(1).sum(1)
    assert_close(losses.gaussian_nll(logits, images, -1.5), expected)


def test_gaussian_kl_is_the_distribution_s() -> None:
    mean, log_variance = torch.randn(2, 6, 4, generator=torch.Generator().manual_seed(3))
    posterior = distributions.Normal(mean, (0.5 * log_variance).exp())
    expected = distributions.kl_divergence(posterior, distributions.Normal(0.0, 1.0)).sum(1)
    assert_close(losses.gaussian_kl(mean, log_variance), expected)


def test_gaussian_kl_of_the_prior_is_zero() -> None:
    zeros = torch.zeros(3, 4)
    assert losses.gaussian_kl(zeros, zeros).tolist() == [0.0, 0.0, 0.0]


def test_reparameterise_has_the_mean_and_deviation_asked_for() -> None:
    noise = torch.randn(100_000, 1, generator=torch.Generator().manual_seed(4))
    latents = losses.reparameterise(torch.tensor(2.0), torch.tensor(math.log(9.0)), noise)
    # Standard errors at 100,000 draws: 0.0095 of the mean, 0.0067 of the deviation; allow 4.
    assert latents.mean().item() == pytest.approx(2.0, abs=0.04)
    assert latents.std().item() == pytest.approx(3.0, abs=0.03)


def test_beta_weighs_the_kl_only() -> None:
    nll, kl = torch.tensor([10.0, 20.0]), torch.tensor([1.0, 3.0])
    assert losses.negative_elbo(nll, kl).item() == 17.0
    assert losses.negative_elbo(nll, kl, beta=4.0).item() == 23.0


def test_an_undecided_discriminator_has_loss_log_4() -> None:
    zeros = torch.zeros(8)
    loss = losses.discriminator_cross_entropy(zeros, zeros, torch.ones(8), zeros)
    assert loss.item() == pytest.approx(math.log(4))


def test_generator_losses_are_their_logarithms() -> None:
    scores = torch.linspace(-4, 4, 9)
    probability = scores.sigmoid()
    assert_close(losses.generator_non_saturating(scores), -probability.log().mean())
    assert_close(losses.generator_minimax(scores), (1 - probability).log().mean())


def test_minimax_saturates_where_the_non_saturating_loss_does_not() -> None:
    score = torch.tensor([-8.0], requires_grad=True)  # the discriminator is sure: a fake
    (flat,) = torch.autograd.grad(losses.generator_minimax(score), score)
    (steep,) = torch.autograd.grad(losses.generator_non_saturating(score), score)
    assert abs(flat.item()) < 1e-3
    assert abs(steep.item()) > 0.99


def test_hinge_ignores_scores_beyond_the_margin() -> None:
    assert losses.discriminator_hinge(torch.tensor([1.5]), torch.tensor([-2.0])).item() == 0.0
    assert losses.discriminator_hinge(torch.tensor([0.5]), torch.tensor([0.0])).item() == 1.5
    assert losses.generator_hinge(torch.tensor([2.0, 4.0])).item() == -3.0


def test_noisy_targets_stay_on_their_side_and_smoothing_is_one_sided() -> None:
    torch.manual_seed(5)
    scores = torch.zeros(1000)
    real = losses.noisy_targets(scores, real=True, noise=0.1, smoothing=0.2)
    fake = losses.noisy_targets(scores, real=False, noise=0.1)
    assert 0.7 <= real.min() < 0.71
    assert 0.79 < real.max() <= 0.8
    assert 0.0 <= fake.min() < 0.01
    assert 0.09 < fake.max() <= 0.1


def test_r1_of_a_linear_score_is_half_its_squared_slope() -> None:
    slope = torch.randn(1, 3, 2, 2, generator=torch.Generator().manual_seed(6))
    images = torch.randn(4, 3, 2, 2, generator=torch.Generator().manual_seed(7)).requires_grad_()
    penalty = losses.gradient_penalty_r1((images * slope).flatten(1).sum(1), images)
    assert_close(penalty, 0.5 * slope.square().sum())
