"""The discriminator of pix2pix and CycleGAN: it judges overlapping patches, each on its own.

Isola et al. (2017), arXiv:1611.07004, section 3.2.2. Shapes: B batch, C channels, H height, W
width.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional


@dataclass(frozen=True)
class PatchParams:
    """With one stage a patch has 16x16 pixels, with two 34x34, with three the paper's 70x70, which
    is about a quarter of its pictures' sides, as 16 is half of 32."""

    features: int = 48
    """Channels of the first map; each later one has twice as many."""
    stages: int = 1

    def build(self, planes: int) -> "Patches":
        """The discriminator of pictures that come with what was given, `planes` channels in all."""
        return Patches(self, planes)


class Patches(nn.Module):
    """Images [B, planes, H, W] -> a score for each patch, high for real: [B, N]."""

    def __init__(self, params: PatchParams, planes: int) -> None:
        super().__init__()
        self.params = params
        self.layers = nn.Sequential(*self._layers(planes))

    def _layers(self, planes: int) -> Iterator[nn.Module]:
        width = self.params.features
        yield from (nn.Conv2d(planes, width, 4, 2, 1), nn.LeakyReLU(0.2))
        for stage in range(self.params.stages):
            # The last one keeps the size.
            stride = 1 if stage == self.params.stages - 1 else 2
            yield nn.Conv2d(width, 2 * width, 4, stride, 1)
            yield from (nn.InstanceNorm2d(2 * width, affine=True), nn.LeakyReLU(0.2))
            width *= 2
        yield nn.Conv2d(width, 1, 4, 1, 1)

    def forward(self, *images: Tensor) -> Tensor:
        """Of pictures and what they come with, the smaller enlarged to the largest."""
        size = images[0].shape[2:]
        planes = [
            each if each.shape[2:] == size else functional.interpolate(each, size, mode="nearest")
            for each in images
        ]
        return self.layers(torch.cat(planes, dim=1)).flatten(1)
