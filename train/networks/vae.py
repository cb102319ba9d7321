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

import torch
from torch import Tensor, nn
from torch.nn import functional

from train.networks.network import network


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
        self, flow: "Callable[[Encoder], nn.Module] | None" = None
    ) -> "tuple[nn.Module, Decoder]":
        """Encoder and decoder; with `flow`, the posterior is an inverse autoregressive flow."""
        encoder = Encoder(self)
        return flow(encoder) if flow else encoder, Decoder(self)


class Encoder(nn.Module):
    """Images [B, C, H, W] -> mean and log-variance of q(z|x), each [B, Z]."""

    def __init__(self, params: VAEParams) -> None:
        super().__init__()
        self.params = params
        layers: list[nn.Module] = []
        channels = params.channels
        for width in params.widths:
            layers += [nn.Conv2d(channels, width, 4, 2, 1), nn.GELU()]
            channels = width
        layers.append(nn.Flatten())
        size = (
            channels * (params.height >> len(params.widths)) * (params.width >> len(params.widths))
        )
        self.layers = nn.Sequential(*layers, *_dense(size, params))
        self.moments = nn.Linear(params.hidden, 2 * params.latent)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        mean, log_variance = self.moments(self.layers(images)).chunk(2, dim=1)
        return mean, log_variance


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
            *_dense(params.latent + params.classes, params),
            nn.Linear(params.hidden, channels * height * width),
            nn.Unflatten(1, (channels, height, width)),
        ]
        for outer in outward:
            layers += [nn.GELU(), nn.ConvTranspose2d(channels, outer, 4, 2, 1)]
            channels = outer
        self.layers = nn.Sequential(*layers)

    def logits(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        """Logits of the images, on which a Bernoulli likelihood is numerically stable."""
        if classes := self.params.classes:
            if labels is None:
                raise ValueError("labels: expected int64 [B] for a conditional decoder")
            shown = functional.one_hot(labels, classes).to(latents.dtype)
            latents = torch.cat([latents, shown], dim=1)
        return self.layers(latents)

    def forward(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        output = self.logits(latents, labels)
        return output.sigmoid() if self.params.sigmoid else output


def _dense(size: int, params: VAEParams) -> list[nn.Module]:
    layers: list[nn.Module] = []
    for _ in range(params.depth):
        layers.append(nn.Linear(size, params.hidden))
        if params.norm:
            layers.append(nn.BatchNorm1d(params.hidden))
        layers.append(nn.GELU())
        size = params.hidden
    return layers
