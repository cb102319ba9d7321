"""Losses against torch.distributions and closed forms.

Tolerance 1e-5 relative: both sides are float32 sums of at most a few hundred terms.
"""

import math

import pytest
import torch
from torch import distributions
from torch.testing import assert_close

from train import gaussian, losses


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
    assert_close(gaussian.nll(logits, images, -1.5), expected)


def test_gaussian_kl_is_the_distribution_s() -> None:
    mean, log_variance = torch.randn(2, 6, 4, generator=torch.Generator().manual_seed(3))
    posterior = distributions.Normal(mean, (0.5 * log_variance).exp())
    expected = distributions.kl_divergence(posterior, distributions.Normal(0.0, 1.0)).sum(1)
    assert_close(gaussian.kl(mean, log_variance), expected)


def test_gaussian_kl_of_the_prior_is_zero() -> None:
    zeros = torch.zeros(3, 4)
    assert gaussian.kl(zeros, zeros).tolist() == [0.0, 0.0, 0.0]


def test_reparameterise_has_the_mean_and_deviation_asked_for() -> None:
    noise = torch.randn(100_000, 1, generator=torch.Generator().manual_seed(4))
    latents = gaussian.reparameterise(torch.tensor(2.0), torch.tensor(math.log(9.0)), noise)
    # Standard errors at 100,000 draws: 0.0095 of the mean, 0.0067 of the deviation; allow 4.
    assert latents.mean().item() == pytest.approx(2.0, abs=0.04)
    assert latents.std().item() == pytest.approx(3.0, abs=0.03)


def test_beta_weighs_the_kl_only() -> None:
    nll, kl = torch.tensor([10.0, 20.0]), torch.tensor([1.0, 3.0])
    assert losses.negative_elbo(nll, kl).item() == 17.0
    assert losses.negative_elbo(nll, kl, beta=4.0).item() == 23.0


def test_an_undecided_discriminator_has_loss_log_4() -> None:
    zeros = torch.zeros(8)
    loss = losses.discriminator_cross_entropy(zeros, zeros)
    assert loss.item() == pytest.approx(math.log(4))


def test_softened_targets_are_those_of_the_cross_entropy() -> None:
    # Smoothing 0.25 of the real target alone: -(0.75 log D + 0.25 log(1 - D)) - log(1 - D').
    real, fake = torch.tensor([2.0]), torch.tensor([-1.0])
    sure, doubt = real.sigmoid().log(), (-real).sigmoid().log()
    expected = -(0.75 * sure + 0.25 * doubt) - (-fake).sigmoid().log()
    loss = losses.discriminator_cross_entropy(real, fake, smoothing=0.25)
    assert_close(loss, expected.squeeze())


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


REAL, FAKE = [2.0, 0.5], [-1.0, 1.0]


@pytest.mark.parametrize(
    ("name", "discriminator", "generator"),
    [
        ("least_squares", (1 + 0.25 + 1 + 1) / 4, (4 + 0) / 4),
        ("wasserstein", 0.0 - 1.25, -0.0),
        ("hinge", (0 + 0.5) / 2 + (0 + 2) / 2, -0.0),
        (
            "relativistic",
            (math.log1p(math.exp(-3)) + math.log1p(math.exp(0.5))) / 2,
            (math.log1p(math.exp(3)) + math.log1p(math.exp(-0.5))) / 2,
        ),
    ],
)
def test_losses_by_hand(name: str, discriminator: float, generator: float) -> None:
    loss = losses.ADVERSARIAL[name]
    real, fake = torch.tensor(REAL), torch.tensor(FAKE)
    assert loss.discriminator(real, fake).item() == pytest.approx(discriminator)
    pair = (real, fake) if loss.paired else (fake,)
    assert loss.generator(*pair).item() == pytest.approx(generator)


@pytest.mark.parametrize("name", losses.ADVERSARIAL)
def test_the_two_networks_pull_apart(name: str) -> None:
    """Discriminator: real up, fake down; generator: fake up. At undecided scores no loss is flat
    but the least squares', whose targets are 0 and 1."""
    loss = losses.ADVERSARIAL[name]
    real, fake = (torch.full((3,), 0.5, requires_grad=True) for _ in range(2))
    up, down = torch.autograd.grad(loss.discriminator(real, fake), (real, fake))
    assert (up < 0).all()
    assert (down > 0).all()
    pair = (real.detach(), fake) if loss.paired else (fake,)
    (pull,) = torch.autograd.grad(loss.generator(*pair), fake)
    assert (pull < 0).all()


def test_hinge_ignores_scores_beyond_the_margin() -> None:
    assert losses.discriminator_hinge(torch.tensor([1.5]), torch.tensor([-2.0])).item() == 0.0


def test_relativistic_scores_matter_by_their_difference_alone() -> None:
    loss = losses.ADVERSARIAL["relativistic"]
    real, fake = torch.tensor(REAL), torch.tensor(FAKE)
    assert_close(loss.discriminator(real + 7, fake + 7), loss.discriminator(real, fake))
    assert_close(loss.generator(real + 7, fake + 7), loss.generator(real, fake))


def test_noisy_targets_stay_on_their_side_and_smoothing_is_one_sided() -> None:
    torch.manual_seed(5)
    scores = torch.zeros(1000)
    real = losses.noisy_targets(scores, real=True, noise=0.1, smoothing=0.2)
    fake = losses.noisy_targets(scores, real=False, noise=0.1)
    assert 0.7 <= real.min() < 0.71
    assert 0.79 < real.max() <= 0.8
    assert 0.0 <= fake.min() < 0.01
    assert 0.09 < fake.max() <= 0.1


@pytest.fixture
def slope() -> torch.Tensor:
    return torch.randn(1, 3, 2, 2, generator=torch.Generator().manual_seed(6))


def pictures(count: int = 4) -> torch.Tensor:
    generator = torch.Generator().manual_seed(7)
    return torch.randn(count, 3, 2, 2, generator=generator).requires_grad_()


def test_penalties_of_a_linear_critic_follow_from_its_slope(slope: torch.Tensor) -> None:
    images = pictures()
    scores = (images * slope).flatten(1).sum(1)
    assert_close(losses.zero_centred_penalty(scores, images), 0.5 * slope.square().sum())
    length = slope.square().sum().sqrt()
    assert_close(losses.one_centred_penalty(scores, images), (length - 1).square())


def test_a_critic_of_slope_one_pays_nothing(slope: torch.Tensor) -> None:
    images = pictures()
    scores = (images * slope / slope.square().sum().sqrt()).flatten(1).sum(1)
    # Float32 rounding of a length of 1, squared.
    assert losses.one_centred_penalty(scores, images).item() < 1e-12


def test_a_pack_has_one_gradient(slope: torch.Tensor) -> None:
    images = pictures()
    scores = (images * slope).reshape(2, -1).sum(1)  # two packs of two
    assert_close(losses.zero_centred_penalty(scores, images), slope.square().sum())


def test_interpolated_images_lie_on_the_line_between_the_pair() -> None:
    real, fake = torch.randn(2, 500, 1, 2, 2, generator=torch.Generator().manual_seed(8))
    share = ((losses.interpolated(real, fake) - fake) / (real - fake)).flatten(1)
    # One share an image; the division loses digits where the pair nearly agrees.
    assert (share.amax(1) - share.amin(1)).median() < 1e-5
    assert share[:, 0].median().item() == pytest.approx(0.5, abs=0.1)


def test_the_weighted_bound_is_the_log_of_the_mean_weight() -> None:
    weights = torch.tensor([[1.0, 3.0], [0.5, 0.5]])
    expected = -(math.log(2.0) + math.log(0.5)) / 2
    assert losses.negative_weighted_bound(weights.log()).item() == pytest.approx(expected)
    large = weights.log() - 1000  # far below the smallest float
    assert losses.negative_weighted_bound(large).item() == pytest.approx(expected + 1000)
