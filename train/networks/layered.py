"""Variational autoencoder with several stochastic layers: z_L at the top, z_1 next to the image.

The prior is a chain, p(z_L) p(z_L-1 | z_L) ... p(z_1 | z_2) p(x | z_1), all Gaussian but the last
part. The posterior is one of two: from the image up, q(z_1 | x) q(z_2 | z_1) ..., as in Burda et
al. (2016), arXiv:1509.00519, section 5; or a ladder, which goes up without drawing anything, then
draws from the top down and merges what it found with the prior at every layer (Sønderby et al.
2016, arXiv:1602.02282). Latents, noise and moments of all layers stand side by side, top first.

Shapes: B images, N draws, Z size of all latents together.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, cast

import torch
from torch import Tensor, nn

from train import gaussian
from train.networks.network import network
from train.networks.posterior import Draw, Gaussian, Posterior
from train.networks.vae import Decoder, Encoder, VAEParams, dense


@network("vae")
@dataclass(frozen=True)
class LayeredParams:
    """Size of both networks."""

    image: VAEParams
    """The networks between the image and z_1, whose size is its `latent`."""
    above: tuple[int, ...] = (32, 16, 8, 4)
    """Sizes of the layers above, upwards; the last is the top."""
    hidden: tuple[int, ...] = (256, 128, 64, 64)
    """Width of the dense layers (`image.depth` of them) between each of these and the one below."""
    ladder: bool = True
    """The posterior is a ladder; otherwise it goes from the image up."""
    kind: Literal["layered"] = "layered"

    def __post_init__(self) -> None:
        if not self.above or len(self.above) != len(self.hidden):
            raise ValueError(
                "above and hidden: expected as many numbers, at least one, "
                f"found {len(self.above)} and {len(self.hidden)}"
            )
        if self.image.classes:
            raise ValueError("image.classes: expected 0, labels have no place in the layers")

    @property
    def latent(self) -> int:
        """Size of the top layer, which stands for the picture as a whole."""
        return self.above[-1]

    @property
    def noise(self) -> tuple[int, ...]:
        """Sizes of the layers below it, downwards: the decoder takes noise for each."""
        return (*self.above[-2::-1], self.image.latent)

    @property
    def height(self) -> int:
        return self.image.height

    @property
    def width(self) -> int:
        return self.image.width

    @property
    def channels(self) -> int:
        return self.image.channels

    @property
    def classes(self) -> int:
        return 0

    @property
    def sigmoid(self) -> bool:
        return self.image.sigmoid

    def build(self, flow: None = None) -> "tuple[Posterior, LayeredDecoder]":
        encoder = LadderEncoder(self) if self.ladder else ChainEncoder(self)
        return encoder, LayeredDecoder(self)

    def conditional(self, size: int, hidden: int, given: int) -> nn.Sequential:
        """Values [N, given] -> moments [N, 2 size] of a layer's Gaussian."""
        layers = dense(given, hidden, self.image.depth, self.image.norm)
        return nn.Sequential(*layers, Moments(hidden, size))


class Moments(nn.Linear):
    """Features [N, F] -> means and log-variances [N, 2 Z], these within +-`BOUND`: a prior that
    became much narrower than its posterior would cost millions of nats."""

    BOUND = 6.0

    def __init__(self, features: int, size: int) -> None:
        super().__init__(features, 2 * size)

    def forward(self, values: Tensor) -> Tensor:
        mean, log_variance = super().forward(values).chunk(2, dim=1)
        bounded = self.BOUND * (log_variance / self.BOUND).tanh()
        return torch.cat([mean, bounded], dim=1)


class LayeredDecoder(nn.Module):
    """Latents of the top layer [N, z_L] and noise for each layer below [N, z_i] -> images
    [N, C, H, W], the mean of p(x|z_1)."""

    def __init__(self, params: LayeredParams) -> None:
        super().__init__()
        self.params = params
        sizes = (params.latent, *params.noise)
        self.priors = nn.ModuleList(
            params.conditional(size, hidden, given)
            for given, size, hidden in zip(sizes, sizes[1:], params.hidden[::-1], strict=False)
        )
        self.image = Decoder(params.image)

    def logits(self, latents: Tensor) -> Tensor:
        """Of the images, given the layer next to them: [N, z_1]."""
        return self.image.logits(latents)

    def forward(self, latents: Tensor, *noise: Tensor) -> Tensor:
        for prior, drawn in zip(self.priors, noise, strict=True):
            latents = Gaussian.of(prior(latents)).at(drawn)
        return self.image(latents)


class LadderEncoder(Posterior):
    """q(z_L | x) ... q(z_1 | z_2, x): from the top down, each layer the prior merged with what the
    way up has found of it."""

    def __init__(self, params: LayeredParams) -> None:
        super().__init__()
        self.sizes = (params.latent, *params.noise)
        self.image = Encoder(params.image)
        widths = (params.image.hidden, *params.hidden)
        self.up = nn.ModuleList(
            nn.Sequential(*dense(below, width, params.image.depth, params.image.norm))
            for below, width in pairwise(widths)
        )
        self.moments = nn.ModuleList(
            Moments(width, size) for width, size in zip(params.hidden, params.above, strict=True)
        )

    def features(self, images: Tensor) -> Tensor:
        """What the way up has found: the moments of every layer."""
        hidden = self.image.layers(images)
        found = [self.image.moments(hidden)]
        for step, moments in zip(self.up, self.moments, strict=True):
            hidden = step(hidden)
            found.append(moments(hidden))
        return torch.cat(found[::-1], dim=1)

    def draw(self, features: Tensor, noise: Tensor, decoder: nn.Module) -> Draw:
        top, *below = (Gaussian.of(f) for f in features.split([2 * n for n in self.sizes], dim=1))
        drawn, *further = noise.split(self.sizes, dim=1)
        latents = top.at(drawn)
        log_ratio = top.log_density(latents) - gaussian.normal_log_density(latents)
        kl = gaussian.kl(*top)
        priors = cast(LayeredDecoder, decoder).priors
        for conditional, found, drawn in zip(priors, below, further, strict=True):
            prior = Gaussian.of(conditional(latents))
            posterior = found.merged(prior)
            latents = posterior.at(drawn)
            log_ratio = log_ratio + posterior.log_density(latents) - prior.log_density(latents)
            kl = kl + posterior.divergence(prior)
        return Draw(latents, log_ratio, kl)


class ChainEncoder(Posterior):
    """q(z_1 | x) q(z_2 | z_1) ...: each layer is drawn given the one below."""

    def __init__(self, params: LayeredParams) -> None:
        super().__init__()
        self.sizes = (params.latent, *params.noise)
        self.image = Encoder(params.image)
        sizes = (params.image.latent, *params.above)
        self.up = nn.ModuleList(
            params.conditional(size, hidden, given)
            for given, size, hidden in zip(sizes, sizes[1:], params.hidden, strict=False)
        )

    def features(self, images: Tensor) -> Tensor:
        return self.image.features(images)

    def draw(self, features: Tensor, noise: Tensor, decoder: nn.Module) -> Draw:
        lowest, *further = noise.split(self.sizes, dim=1)[::-1]
        posterior = Gaussian.of(features)
        layers = [posterior.at(lowest)]
        log_ratio = posterior.log_density(layers[0])
        for conditional, drawn in zip(self.up, further, strict=True):
            posterior = Gaussian.of(conditional(layers[-1]))
            layers.append(posterior.at(drawn))
            log_ratio = log_ratio + posterior.log_density(layers[-1])
        log_ratio = log_ratio - gaussian.normal_log_density(layers[-1])
        downwards = layers[::-1]
        priors = cast(LayeredDecoder, decoder).priors
        for conditional, above, below in zip(priors, downwards, downwards[1:], strict=False):
            log_ratio = log_ratio - Gaussian.of(conditional(above)).log_density(below)
        return Draw(layers[0], log_ratio, log_ratio)
