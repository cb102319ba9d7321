"""Dense networks: for points in the plane, and for whatever is a vector.

A point of the plane is an image of 1 x 2 grey pixels, x and y, so that the loop, the export and
the service take it as they take any image.

Shapes: B batch, Z latent size, C channels, H height, W width.
"""

from dataclasses import dataclass
from math import prod
from typing import Literal

from torch import Tensor, nn

from train.networks.network import network


def leaky_layers(size: int, hidden: int, depth: int) -> nn.Sequential:
    """`depth` dense layers of width `hidden` with LeakyReLU; [B, size] -> [B, hidden]."""
    layers: list[nn.Module] = []
    for _ in range(depth):
        layers += [nn.Linear(size, hidden), nn.LeakyReLU(0.2)]
        size = hidden
    return nn.Sequential(*layers)


@network("gan")
@dataclass(frozen=True)
class MLPParams:
    """Size of both networks."""

    latent: int = 2
    height: int = 1
    width: int = 2
    channels: int = 1
    hidden: int = 64
    """Width of the dense layers."""
    depth: int = 2
    """Number of dense layers before the last one, at least 1."""
    classes: int = 0
    """No labels: these networks take none."""
    kind: Literal["mlp"] = "mlp"

    def __post_init__(self) -> None:
        if self.classes:
            raise ValueError(f"classes: expected 0 for dense networks, found {self.classes}")
        if self.depth < 1:
            raise ValueError(f"depth: expected at least 1, found {self.depth}")

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of an image."""
        return self.channels, self.height, self.width

    @property
    def judges_alone(self) -> bool:
        """The discriminator's score of an image depends on no other: it has no batch norm."""
        return True

    def build(self) -> "tuple[MLPGenerator, MLPDiscriminator]":
        return MLPGenerator(self), MLPDiscriminator(self)


class MLPGenerator(nn.Module):
    """Latents [B, Z] -> images [B, C, H, W] in [-1, 1]."""

    def __init__(self, params: MLPParams) -> None:
        super().__init__()
        self.params = params
        self.layers = nn.Sequential(
            leaky_layers(params.latent, params.hidden, params.depth),
            nn.Linear(params.hidden, prod(params.shape)),
            nn.Tanh(),
            nn.Unflatten(1, params.shape),
        )

    def forward(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        return self.layers(latents)


class MLPDiscriminator(nn.Module):
    """Images [B, C, H, W] -> scores [B], high for real."""

    classify = None
    """It knows no labels."""

    def __init__(self, params: MLPParams) -> None:
        super().__init__()
        self.params = params
        self.layers = nn.Sequential(
            nn.Flatten(), leaky_layers(prod(params.shape), params.hidden, params.depth)
        )
        self.score = nn.Linear(params.hidden, 1)

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        return self.judge(images, labels)[0]

    def judge(self, images: Tensor, labels: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Scores, and the features [B, F] that they are made of."""
        features = self.layers(images)
        return self.score(features).squeeze(1), features
