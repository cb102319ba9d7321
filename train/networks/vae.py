"""Variational autoencoder with a flat Gaussian latent.

Kingma and Welling (2014), arXiv:1312.6114. Both networks are strided (transposed) convolutions
around dense layers: on small pictures of centred objects the dense layers carry most of the
likelihood, the convolutions save most of the weights. Without convolutions they are the plain
multi-layer perceptrons of the paper.

Shapes: B batch, Z latent size, C channels, H height, W width.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn
from torch.nn import functional

from train.networks.layers import with_labels
from train.networks.network import network
from train.networks.posterior import GaussianPosterior, Posterior


@network("vae")
@dataclass(frozen=True)
class VAEParams:
    """Size of both networks.

    `widths` are the channels of the encoder's convolutions, from the image inwards; each halves
    the sides. The decoder mirrors `decoder_widths`, from the image inwards as well. None of them:
    dense layers alone.
    """

    latent: int = 2
    height: int = 28
    width: int = 28
    channels: int = 1
    widths: tuple[int, ...] = (32, 64)
    decoder_widths: tuple[int, ...] = (16, 32)
    hidden: int = 512
    """Width of the dense layers between convolutions and latent."""
    depth: int = 2
    """Number of dense layers on each side, at least 1."""
    blocks: int = 0
    """Residual blocks of two convolutions behind each halving of the encoder, and before each
    doubling of the decoder, as Kingma et al. (2016), arXiv:1606.04934, appendix C.1, have two."""
    norm: bool = False
    """Batch norm in the dense layers, as Sønderby et al. (2016), arXiv:1602.02282, have it: after 6
    epochs of binary MNIST the test loss was 98.8 nats with it and 107.3 without."""
    sigmoid: bool = True
    """End the decoder in a sigmoid (images in [0, 1]); otherwise linear."""
    classes: int = 0
    """Number of labels, which the decoder takes beside the latent, one-hot: p(x|z, y). The encoder
    sees the picture alone."""
    # Of the class, so that recipes in JSON stay as they were when all VAEs were of this kind.
    kind: ClassVar[str] = "vae"

    def __post_init__(self) -> None:
        factor = 2 ** max(len(self.widths), len(self.decoder_widths))
        if self.height % factor or self.width % factor:
            raise ValueError(
                f"height and width: expected multiples of {factor} (one halving a convolution), "
                f"found {self.height} x {self.width}"
            )
        if self.depth < 1:
            raise ValueError(f"depth: expected at least 1, found {self.depth}")

    def build(
        self, flow: "Callable[[Encoder], Posterior] | None" = None
    ) -> "tuple[Posterior, Decoder]":
        """Encoder and decoder; with `flow`, the posterior is an inverse autoregressive flow."""
        encoder = Encoder(self)
        return flow(encoder) if flow else encoder, Decoder(self)


class Encoder(GaussianPosterior):
    """Images [B, C, H, W] -> mean and log-variance of q(z|x), each [B, Z]."""

    def __init__(self, params: VAEParams) -> None:
        super().__init__()
        self.params = params
        layers: list[nn.Module] = []
        channels = params.channels
        for width in params.widths:
            layers += [nn.Conv2d(channels, width, 4, 2, 1), nn.GELU()]
            layers += [ResidualBlock(width) for _ in range(params.blocks)]
            channels = width
        layers.append(nn.Flatten())
        size = (
            channels * (params.height >> len(params.widths)) * (params.width >> len(params.widths))
        )
        layers += dense(size, params.hidden, params.depth, params.norm)
        self.layers = nn.Sequential(*layers)
        self.moments = nn.Linear(params.hidden, 2 * params.latent)


class Decoder(nn.Module):
    """Latents [B, Z] (and labels int64 [B] where conditional) -> images [B, C, H, W], the mean of
    p(x|z)."""

    def __init__(self, params: VAEParams) -> None:
        super().__init__()
        self.params = params
        halvings = len(params.decoder_widths)
        height, width = params.height >> halvings, params.width >> halvings
        # From the dense layers outwards; the last is the image.
        channels, *outward = *params.decoder_widths[::-1], params.channels
        layers = [
            *dense(params.latent + params.classes, params.hidden, params.depth, params.norm),
            nn.Linear(params.hidden, channels * height * width),
            nn.Unflatten(1, (channels, height, width)),
        ]
        for outer in outward:
            layers += [ResidualBlock(channels) for _ in range(params.blocks)]
            layers += [nn.GELU(), nn.ConvTranspose2d(channels, outer, 4, 2, 1)]
            channels = outer
        self.layers = nn.Sequential(*layers)

    def logits(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        """Logits of the images, on which a Bernoulli likelihood is numerically stable."""
        return self.layers(with_labels(latents, labels, self.params.classes))

    def forward(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        output = self.logits(latents, labels)
        return output.sigmoid() if self.params.sigmoid else output


class ResidualBlock(nn.Module):
    """Features [B, C, h, w] -> the same and two convolutions of them; at first, the same."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)
        for parameter in self.second.parameters():
            nn.init.zeros_(parameter)

    def forward(self, features: Tensor) -> Tensor:
        inner = self.first(functional.gelu(features))
        return features + self.second(functional.gelu(inner))


def dense(size: int, width: int, depth: int, norm: bool) -> list[nn.Module]:
    """Dense layers from `size` values to `width`, `depth` of them, with batch norm or without."""
    layers: list[nn.Module] = []
    for _ in range(depth):
        layers.append(nn.Linear(size, width))
        if norm:
            layers.append(nn.BatchNorm1d(width))
        layers.append(nn.GELU())
        size = width
    return layers
