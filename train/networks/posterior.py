"""What an encoder is to an objective: draws of latents, each with log q(z|x) - log p(z).

One interface for a diagonal Gaussian, for one that a flow bends, and for several stochastic layers.

Shapes: B images, N draws, the same number for each image, Z size of a latent.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from train import gaussian


class Gaussian(NamedTuple):
    """Gaussians of independent dimensions: means and log-variances, [N, Z]."""

    mean: Tensor
    log_variance: Tensor

    @classmethod
    def of(cls, moments: Tensor) -> "Gaussian":
        """From both side by side, [N, 2 Z]."""
        mean, log_variance = moments.float().chunk(2, dim=1)
        return cls(mean, log_variance)

    def at(self, noise: Tensor) -> Tensor:
        """The draw that noise [N, Z] from N(0, I) stands for."""
        return gaussian.reparameterise(self.mean, self.log_variance, noise)

    def log_density(self, values: Tensor) -> Tensor:
        """Of values [N, Z], nats [N]."""
        squares = (values - self.mean).square() * (-self.log_variance).exp()
        return -0.5 * (squares + self.log_variance + math.log(2 * math.pi)).sum(1)

    def divergence(self, other: "Gaussian") -> Tensor:
        """KL(self || other), nats [N]."""
        ratio = self.log_variance - other.log_variance
        squares = (self.mean - other.mean).square() * (-other.log_variance).exp()
        return 0.5 * (squares + ratio.exp() - 1 - ratio).sum(1)

    def merged(self, other: "Gaussian") -> "Gaussian":
        """The normalised product of both densities: precisions add up, means are weighted by them.
        Sønderby et al. (2016), arXiv:1602.02282, eq. 17 to 19."""
        share = other.log_variance - self.log_variance  # logit of this one's share of the precision
        mean = torch.lerp(other.mean, self.mean, share.sigmoid())
        return Gaussian(mean, self.log_variance + nn.functional.logsigmoid(share))


class Draw(NamedTuple):
    """Draws of a posterior."""

    latents: Tensor
    """Of the stochastic layer next to the image, [N, Z]."""
    log_ratio: Tensor
    """log q(z|x) - log p(z) of these draws, all stochastic layers together, nats [N]."""
    kl: Tensor
    """The same in expectation, as far as there is a closed form, nats [N]."""


class Posterior(nn.Module):
    """q(z|x). Without a `draw` of its own it is a Gaussian whose moments are the features."""

    def features(self, images: Tensor) -> Tensor:
        """All that a draw must know of the images: [B, C, H, W] -> [B, any]."""
        raise NotImplementedError

    def draw(self, features: Tensor, noise: Tensor, decoder: nn.Module) -> Draw:
        """Draws made of features [N, any] and noise [N, all latents] from N(0, I). The decoder
        knows the prior, where that is not N(0, I) alone."""
        posterior = Gaussian.of(features)
        latents = posterior.at(noise)
        log_ratio = posterior.log_density(latents) - gaussian.normal_log_density(latents)
        return Draw(latents, log_ratio, gaussian.kl(*posterior))


class GaussianPosterior(Posterior):
    """A Gaussian whose moments a last layer makes. Subclasses set `layers` and `moments`."""

    layers: nn.Module
    moments: nn.Module

    def features(self, images: Tensor) -> Tensor:
        """Both moments side by side, [B, 2 Z]."""
        return self.moments(self.layers(images))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        mean, log_variance = self.features(images).chunk(2, dim=1)
        return mean, log_variance
