"""Gaussians: densities, divergence and draws, as networks and losses both need them.

Densities and divergences are sums over dimensions, in nats, one number a row.
"""

import math

from torch import Tensor


def nll(means: Tensor, images: Tensor, log_scale: float) -> Tensor:
    """-log p(x|z) for a Gaussian of fixed scale around `means`; nats per image [B].

    Kingma and Welling (2014), appendix C.2, eq. 12, with one variance for all pixels.
    """
    squares = (images - means).square() * math.exp(-2 * log_scale)
    return (0.5 * (squares + math.log(2 * math.pi)) + log_scale).flatten(1).sum(1)


def kl(mean: Tensor, log_variance: Tensor) -> Tensor:
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
