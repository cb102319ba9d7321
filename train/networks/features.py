"""A small classifier in whose features pictures are compared: perceptual losses and styles.

It learns in the run that uses it, from the labels of the same pictures, and is frozen then: the
classifiers that judge finished networks (`benchmarks.quality`) are known to no training.

Shapes: B batch, C channels, H height, W width.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor, nn


@dataclass(frozen=True)
class FeaturesParams:
    channels: int = 3
    widths: tuple[int, ...] = (24, 48, 96)
    """Channels of each map; the sides halve from one to the next."""
    classes: int = 10

    def build(self) -> "Features":
        return Features(self)


class Features(nn.Module):
    """Images [B, C, H, W] -> a map of features for each of the widths, the largest first.

    Two 3x3 convolutions a map, as in VGG (Simonyan and Zisserman 2015, arXiv:1409.1556), without
    norms: what one picture gives depends on no other.
    """

    def __init__(self, params: FeaturesParams) -> None:
        super().__init__()
        self.params = params
        self.stages = nn.ModuleList(self._stages())
        self.classify = nn.Linear(params.widths[-1], params.classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")

    def _stages(self) -> Iterator[nn.Module]:
        before = self.params.channels
        for number, width in enumerate(self.params.widths):
            yield nn.Sequential(
                nn.Conv2d(before, width, 3, 2 if number else 1, 1),
                nn.ReLU(),
                nn.Conv2d(width, width, 3, 1, 1),
                nn.ReLU(),
            )
            before = width

    def forward(self, images: Tensor) -> list[Tensor]:
        maps: list[Tensor] = []
        for stage in self.stages:
            images = stage(images)
            maps.append(images)
        return maps

    def logits(self, images: Tensor) -> Tensor:
        """[B, classes]"""
        return self.classify(self(images)[-1].mean(dim=(2, 3)))
