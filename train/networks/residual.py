"""Residual translators: those of Johnson et al. (2016), CycleGAN and SRGAN are sizes of one.

Johnson, Alahi and Fei-Fei (2016), arXiv:1603.08155; Zhu et al. (2017), arXiv:1703.10593; Ledig et
al. (2017), arXiv:1609.04802. Maps are enlarged by repeating pixels before a convolution (Odena et
al. 2016, "Deconvolution and Checkerboard Artifacts"), as ESRGAN does it.

Shapes: B batch, C channels, H height, W width.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn
from torch.nn import functional

from train.networks.network import check_sides, network


@network("translator")
@dataclass(frozen=True)
class ResidualParams:
    """`halvings` of the sides, `blocks` at the smallest size, and back."""

    height: int = 32
    width: int = 32
    channels: int = 3
    features: int = 32
    """Channels at full size; each halving doubles them."""
    halvings: int = 2
    blocks: int = 4
    norm: Literal["instance", "none"] = "instance"
    classes: Literal[0] = 0
    kind: Literal["residual"] = "residual"

    def __post_init__(self) -> None:
        check_sides(self.height, self.width, 2**self.halvings, "2**halvings")

    def build(self, planes: int, scale: int = 1) -> "Residual":
        """The network for inputs of so many channels, which are so many times smaller (a power of
        2) than the pictures that it makes."""
        return Residual(self, planes, scale)


class Residual(nn.Module):
    """Images [B, planes, H / scale, W / scale] -> images [B, C, H, W], in [-1, 1] but where it
    enlarges: there it gives what is to be added to the enlarged picture, and has no bound."""

    def __init__(self, params: ResidualParams, planes: int, scale: int = 1) -> None:
        super().__init__()
        if scale & (scale - 1):
            raise ValueError(f"scale: expected a power of 2, found {scale}")
        if scale > 1 and planes != params.channels:
            raise ValueError(f"expected inputs of {params.channels} channels, found {planes}")
        check_sides(params.height, params.width, scale * 2**params.halvings, "scale * 2**halvings")
        self.params = params
        self.scale = scale
        self.layers = nn.Sequential(*self._layers(planes, params.halvings + scale.bit_length() - 1))

    def _layers(self, planes: int, doublings: int) -> Iterator[nn.Module]:
        params, width = self.params, self.params.features
        yield from self._layer(planes, width, kernel=7 if params.halvings else 3)
        for _ in range(params.halvings):
            yield from self._layer(width, 2 * width, stride=2)
            width *= 2
        for _ in range(params.blocks):
            yield Block([*self._layer(width, width), *self._layer(width, width)[:-1]])
        for stage in range(doublings):
            # What was not halved before is enlarged at the same width.
            narrower = width // 2 if stage < params.halvings else width
            yield nn.UpsamplingNearest2d(scale_factor=2)
            yield from self._layer(width, narrower)
            width = narrower
        yield _convolution(width, params.channels, 7 if params.halvings else 3)
        if self.scale == 1:
            yield nn.Tanh()

    def _layer(self, before: int, after: int, kernel: int = 3, stride: int = 1) -> list[nn.Module]:
        norms = [nn.InstanceNorm2d(after, affine=True)] if self.params.norm == "instance" else []
        return [_convolution(before, after, kernel, stride), *norms, nn.ReLU()]

    def forward(self, images: Tensor) -> Tensor:
        made = self.layers(images)
        if self.scale == 1:
            return made
        return made + functional.interpolate(images, scale_factor=self.scale, mode="nearest")


class Block(nn.Module):
    """Two convolutions, whose result is added to what they were given."""

    def __init__(self, layers: list[nn.Module]) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def forward(self, features: Tensor) -> Tensor:
        return features + self.layers(features)


def _convolution(before: int, after: int, kernel: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(before, after, kernel, stride, kernel // 2, padding_mode="reflect")
