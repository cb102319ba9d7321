"""Losses: pure functions of network outputs.

Likelihood terms are sums over pixels, in nats per image, averaged over the batch.
Discriminator outputs are logits: D(x) = sigmoid(logit).
"""

import math

import torch
from torch import Tensor
from torch.nn import functional


def bernoulli_nll(logits: Tensor, images: Tensor) -> Tensor:
    """-log p(x|z) for pixels in [0, 1] taken as Bernoulli means; nats per image [B].

    Kingma and Welling (2014), appendix C.1, eq. 11.
    """
    return (
        functional.binary_cross_entropy_with_logits(logits, images, reduction="none")
        .flatten(1)
        .sum(1)
    )


def gaussian_nll(means: Tensor, images: Tensor, log_scale: float) -> Tensor:
    """-log p(x|z) for a Gaussian of fixed scale around `means`; nats per image [B].

    Kingma and Welling (2014), appendix C.2, eq. 12, with one variance for all pixels.
    """
    squares = (images - means).square() * math.exp(-2 * log_scale)
    return (0.5 * (squares + math.log(2 * math.pi)) + log_scale).flatten(1).sum(1)


def gaussian_kl(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL(N(mean, exp(log_variance)) || N(0, I)) in closed form; [B, Z] -> nats [B].

    Kingma and Welling (2014), appendix B.
    """
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).flatten(1).sum(1)


def normal_log_density(values: Tensor) -> Tensor:
    """log N(values; 0, I); [B, Z] -> nats [B]."""
    return -0.5 * (values.square() + math.log(2 * math.pi)).flatten(1).sum(1)


def reparameterise(mean: Tensor, log_variance: Tensor, noise: Tensor) -> Tensor:
    """z = mean + sigma * noise, differentiable in mean and sigma. Kingma and Welling, eq. 4."""
    return mean + (0.5 * log_variance).exp() * noise


def negative_elbo(nll: Tensor, kl: Tensor, beta: float = 1.0) -> Tensor:
    """E[nll + beta * KL] over the batch. Higgins et al. (2017), beta-VAE, eq. 4; beta 1: ELBO."""
    return (nll + beta * kl).mean()


def noisy_targets(like: Tensor, real: bool, noise: float, smoothing: float = 0.0) -> Tensor:
    """Discriminator targets with uniform noise towards the middle, and one-sided smoothing.

    Real: 1 - smoothing - noise * U; fake: noise * U, with U ~ Uniform(0, 1) for every image.
    Smoothing: Salimans et al. (2016), section 3.4, arXiv:1606.03498 (never of the fakes).
    Noise: Chollet, "Deep Learning with Python", 2nd ed., section 12.5.
    """
    uniform = torch.rand_like(like)
    return 1 - smoothing - noise * uniform if real else noise * uniform


def discriminator_cross_entropy(
    real: Tensor, fake: Tensor, real_targets: Tensor, fake_targets: Tensor
) -> Tensor:
    """-E[log D(x)] - E[log(1 - D(G(z)))], with soft targets.

    Goodfellow et al. (2014), eq. 1, arXiv:1406.2661.
    """
    return functional.binary_cross_entropy_with_logits(
        real, real_targets
    ) + functional.binary_cross_entropy_with_logits(fake, fake_targets)


def generator_non_saturating(fake: Tensor) -> Tensor:
    """-E[log D(G(z))]. Goodfellow et al. (2014), section 3."""
    return functional.softplus(-fake).mean()


def generator_minimax(fake: Tensor) -> Tensor:
    """E[log(1 - D(G(z)))]: the same minimax value as the discriminator's, which saturates.

    Goodfellow et al. (2014), eq. 1.
    """
    return -functional.softplus(fake).mean()


def discriminator_hinge(real: Tensor, fake: Tensor) -> Tensor:
    """E[max(0, 1 - D(x))] + E[max(0, 1 + D(G(z)))] on raw outputs.

    Lim and Ye (2017), arXiv:1705.02894; Miyato et al. (2018), eq. 16, arXiv:1802.05957.
    """
    return functional.relu(1 - real).mean() + functional.relu(1 + fake).mean()


def generator_hinge(fake: Tensor) -> Tensor:
    """-E[D(G(z))]. Miyato et al. (2018), eq. 17."""
    return -fake.mean()


def gradient_penalty_r1(scores: Tensor, images: Tensor) -> Tensor:
    """0.5 * E[|grad_x D(x)|^2] on real images, which must require a gradient.

    Mescheder, Geiger and Nowozin (2018), eq. 9, arXiv:1801.04406, with gamma left to the caller.
    """
    (gradient,) = torch.autograd.grad(scores.sum(), images, create_graph=True)
    return 0.5 * gradient.square().flatten(1).sum(1).mean()
