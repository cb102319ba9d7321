"""A StyleGAN2 at small width, written as other people write theirs: noise drawn in forward, and a
group for each image."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from export.families.stylegan import StyleOptions
from runtime.sampling.streams import Counter, Stream, normals

LATENT, STYLE, LAYERS, CLASSES = 8, 6, 3, ("cat", "dog", "fox")


class Mapping(nn.Module):
    """Latents (normalised here) and one-hot classes -> styles [B, 6] far from 0."""

    def __init__(self, classes: int = 0) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(LATENT + classes, 16), nn.LeakyReLU(0.2), nn.Linear(16, STYLE)
        )

    def forward(self, z: Tensor, c: Tensor | None) -> Tensor:
        z = z * torch.rsqrt(z.square().mean(dim=1, keepdim=True) + 1e-8)
        return self.layers(z if c is None else torch.cat((z, c), dim=1)) + 0.5


class Layer(nn.Module):
    """A modulated convolution with a group for each image, noise, and an activation."""

    def __init__(self, channels: int = 8) -> None:
        super().__init__()
        self.affine = nn.Linear(STYLE, channels)
        self.weight = nn.Parameter(torch.randn(channels, channels, 3, 3))
        self.strength = nn.Parameter(torch.tensor(0.2))

    def forward(self, x: Tensor, style: Tensor, noise: Tensor | None) -> Tensor:
        b, channels, height, width = x.shape
        weights = self.weight[None] * (self.affine(style) + 1)[:, None, :, None, None]
        weights = weights * (weights.square().sum((2, 3, 4), keepdim=True) + 1e-8).rsqrt()
        weights = weights.reshape(b * channels, channels, 3, 3)
        x = F.conv2d(x.reshape(1, -1, height, width), weights, padding=1, groups=b)
        x = x.reshape(b, channels, height, width)
        if noise is None:
            noise = torch.randn(b, 1, height, width, device=x.device)
        return F.leaky_relu(x + self.strength * noise, 0.2)


class Synthesis(nn.Module):
    """Styles [B, 3, 6] (and noise of each layer, drawn where none is given) -> images
    [B, 3, 16, 16]."""

    def __init__(self) -> None:
        super().__init__()
        self.constant = nn.Parameter(torch.randn(1, 8, 4, 4))
        self.layers = nn.ModuleList([Layer() for _ in range(LAYERS)])
        self.to_rgb = nn.Conv2d(8, 3, 1)

    def forward(self, ws: Tensor, *noise: Tensor, gain: float = 1.0) -> tuple[Tensor, None]:
        x = self.constant.repeat(ws.shape[0], 1, 1, 1)
        for i, layer in enumerate(self.layers):
            x = F.interpolate(x, scale_factor=2) if i else x
            x = layer(x, ws[:, i], noise[i] if noise else None)
        return torch.tanh(self.to_rgb(x) * gain), None


SHAPES = [(1, 4, 4), (1, 8, 8), (1, 16, 16)]
OPTIONS = StyleOptions(
    layers=LAYERS, mapping_arguments={"c": None}, synthesis_arguments={"gain": 2.0}
)


def networks(classes: int = 0) -> tuple[Mapping, Synthesis]:
    torch.manual_seed(0)
    return Mapping(classes).eval(), Synthesis().eval()


def noise_of(seeds: Counter) -> list[Tensor]:
    return [
        torch.from_numpy(normals(seeds, Stream.FURTHER_NOISE + i, int(np.prod(shape)))).reshape(
            -1, *shape
        )
        for i, shape in enumerate(SHAPES)
    ]


def grey_levels(images: Tensor) -> NDArray[Any]:
    return ((images + 1) * 127.5).round().clamp(0, 255).permute(0, 2, 3, 1).numpy()
