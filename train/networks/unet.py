"""The U-Net of pix2pix: Isola et al. (2017), arXiv:1611.07004, appendix 6.1.

Shapes: B batch, C channels, H height, W width.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from train.networks.network import check_sides, network


@network("translator")
@dataclass(frozen=True)
class UNetParams:
    """Each of `stages` halvings is undone on the way back, where the map of the same size from the
    way down is joined to it: detail goes past the small maps.

    The paper's noise, dropout that stays on, is left out: the same picture gives the same one.
    """

    height: int = 32
    width: int = 32
    channels: int = 3
    stages: int = 4
    features: int = 32
    """Channels of the first map; every smaller one has twice as many, up to `widest`."""
    widest: int = 256
    classes: Literal[0] = 0
    kind: Literal["unet"] = "unet"

    def __post_init__(self) -> None:
        check_sides(self.height, self.width, 2**self.stages, "2**stages")

    def build(self, planes: int, scale: int = 1) -> "UNet":
        """The network for inputs of so many channels, which are so many times smaller than the
        pictures that it makes."""
        return UNet(self, planes, scale)


class UNet(nn.Module):
    """Images [B, planes, H / scale, W / scale] -> images [B, C, H, W] in [-1, 1]."""

    def __init__(self, params: UNetParams, planes: int, scale: int = 1) -> None:
        super().__init__()
        self.params = params
        self.scale = scale
        widths = [min(params.features << i, params.widest) for i in range(params.stages)]
        last = params.stages - 1
        self.downs = nn.ModuleList(
            nn.Sequential(
                *([nn.LeakyReLU(0.2)] if stage else []),
                nn.Conv2d(before, after, 4, 2, 1),
                *([nn.BatchNorm2d(after)] if 0 < stage < last else []),
            )
            for stage, (before, after) in enumerate(pairwise([planes, *widths]))
        )
        self.ups = nn.ModuleList(
            nn.Sequential(
                nn.ReLU(),
                # All but the smallest map come with that of the way down.
                nn.ConvTranspose2d(before if stage == last else 2 * before, after, 4, 2, 1),
                *([nn.BatchNorm2d(after)] if stage else [nn.Tanh()]),
            )
            for stage, (after, before) in reversed(
                list(enumerate(pairwise([params.channels, *widths])))
            )
        )

    def forward(self, images: Tensor) -> Tensor:
        if self.scale > 1:
            images = functional.interpolate(images, scale_factor=self.scale, mode="nearest")
        skips: list[Tensor] = []
        for down in self.downs:
            images = down(images)
            skips.append(images)
        images = skips.pop()
        for up in self.ups[:-1]:
            images = torch.cat([up(images), skips.pop()], dim=1)
        return self.ups[-1](images)
