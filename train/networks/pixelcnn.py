"""Gated PixelCNN: the exact probability of a binary image, as a product over its pixels.

Van den Oord et al. (2016), arXiv:1606.05328. Pixels are taken row by row from the top, each row
from the left; p(x) is the product of p(pixel | all pixels before it), and one pass gives all its
factors.

The row-wise idea is PixelRNN's (van den Oord et al. 2016, arXiv:1601.06759): what lies before a
pixel is every row above it, whole, and the part of its own row to the left. Its Row LSTM carries a
state from each row to the next, and convolves along the row. The gated PixelCNN has two stacks of
masked convolutions in the state's place: the `vertical` one sees the rows above and nothing of the
own row, the `horizontal` one the pixels to the left and, at every layer, what the vertical one
found. A single masked stack would have a blind spot to the upper right. Training needs no
recursion: all rows are computed at once. Drawing an image computes the vertical stack once a row
and the horizontal one once a pixel.

Shapes: B batch, C channels of a stack, H height, W width.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional


@dataclass(frozen=True)
class PixelCNNParams:
    """Size of the network: one channel, whose values are 0 and 1."""

    height: int = 28
    width: int = 28
    features: int = 32
    """Channels of both stacks."""
    layers: int = 7
    """Gated layers; each but the first sees one row and one column more."""
    reach: int = 3
    """How many rows and columns the first layer looks back."""
    head: int = 64
    """Channels of the dense layer, pixel by pixel, behind the last of them."""
    kind: Literal["pixelcnn"] = "pixelcnn"

    def __post_init__(self) -> None:
        if self.layers < 1 or self.reach < 1:
            raise ValueError(
                f"layers and reach: expected at least 1, found {self.layers} and {self.reach}"
            )

    @property
    def latent(self) -> int:
        """Normals that an image is drawn from: one a pixel."""
        return self.height * self.width

    @property
    def behind(self) -> int:
        """How many pixels to its left a pixel can depend on by way of the horizontal stack."""
        return self.reach + self.layers - 1

    @property
    def channels(self) -> int:
        return 1

    @property
    def classes(self) -> int:
        return 0

    def build(self) -> "PixelCNN":
        return PixelCNN(self)


class RowsAbove(nn.Module):
    """A convolution [B, C, H, W] -> [B, out, H, W] that sees, of each pixel, `reach` rows above it
    and as many columns to either side; with `own`, its own row as well."""

    def __init__(self, size: int, out: int, reach: int, own: bool) -> None:
        super().__init__()
        self.reach = reach
        self.conv = nn.Conv2d(size, out, (reach + own, 2 * reach + 1))

    def forward(self, values: Tensor) -> Tensor:
        padded = functional.pad(values, (self.reach, self.reach, self.reach, 0))
        # Without the own row there is one row more, below the last.
        return self.conv(padded)[:, :, : values.shape[2]]


class PixelsBefore(nn.Module):
    """A convolution along rows that sees, of each pixel, `reach` pixels to its left; with `own`,
    itself as well."""

    def __init__(self, size: int, out: int, reach: int, own: bool) -> None:
        super().__init__()
        self.reach = reach
        self.conv = nn.Conv2d(size, out, (1, reach + own))

    def forward(self, values: Tensor) -> Tensor:
        padded = functional.pad(values, (self.reach, 0, 0, 0))
        return self.conv(padded)[:, :, :, : values.shape[3]]


class GatedLayer(nn.Module):
    """One layer of both stacks (figure 2); its gates: tanh(a) sigmoid(b) of two convolutions."""

    def __init__(self, params: PixelCNNParams, first: bool) -> None:
        super().__init__()
        size, width = (1 if first else params.features), params.features
        reach = params.reach if first else 1
        # Of the image the own row, and the pixel itself, are hidden; of features made without them
        # they may be seen.
        self.vertical = RowsAbove(size, 2 * width, reach, own=not first)
        self.horizontal = PixelsBefore(size, 2 * width, reach, own=not first)
        self.across = nn.Conv2d(2 * width, 2 * width, 1)
        self.out = nn.Conv2d(width, width, 1)
        self.residual = not first

    def down(self, vertical: Tensor) -> tuple[Tensor, Tensor]:
        """The vertical stack's next features, and what the horizontal one is told of them."""
        inner = self.vertical(vertical)
        return _gated(inner), self.across(inner)

    def along(self, horizontal: Tensor, told: Tensor) -> Tensor:
        """The horizontal stack's next features."""
        found = self.out(_gated(self.horizontal(horizontal) + told))
        return horizontal + found if self.residual else found


class PixelCNN(nn.Module):
    """Normals [B, H W] -> images [B, 1, H, W] of 0 and 1, drawn pixel by pixel; `logits` gives
    their probability."""

    def __init__(self, params: PixelCNNParams) -> None:
        super().__init__()
        self.params = params
        self.layers = nn.ModuleList(
            GatedLayer(params, first=number == 0) for number in range(params.layers)
        )
        self.head = nn.Sequential(
            nn.GELU(),
            nn.Conv2d(params.features, params.head, 1),
            nn.GELU(),
            nn.Conv2d(params.head, 1, 1),
        )

    def logits(self, images: Tensor) -> Tensor:
        """Of p(pixel = 1 | pixels before it), [B, 1, H, W], of images [B, 1, H, W] of 0 and 1."""
        return self.along(images, self.down(images))

    def down(self, images: Tensor) -> list[Tensor]:
        """The vertical stack: what each layer tells the horizontal one, [B, 2 C, H, W]."""
        told, vertical = [], images
        for layer in cast(Iterable[GatedLayer], self.layers):
            vertical, found = layer.down(vertical)
            told.append(found)
        return told

    def along(self, images: Tensor, told: Sequence[Tensor]) -> Tensor:
        """The horizontal stack, and the logits. Rows are independent of one another."""
        horizontal = images
        for layer, found in zip(cast(Iterable[GatedLayer], self.layers), told, strict=True):
            horizontal = layer.along(horizontal, found)
        return self.head(horizontal)

    @torch.no_grad()
    def forward(self, normals: Tensor) -> Tensor:
        shape = (len(normals), 1, self.params.height, self.params.width)
        uniform = torch.special.ndtr(normals).reshape(shape)
        images = torch.zeros_like(uniform)
        for row in range(self.params.height):
            told = [found[:, :, row:] for found in self.down(images[:, :, : row + 1])]
            line = images[:, :, row : row + 1]
            for column in range(self.params.width):
                seen = slice(max(0, column - self.params.behind), column + 1)
                logits = self.along(line[..., seen], [found[..., seen] for found in told])
                white = uniform[:, :, row, column] < logits[:, :, 0, -1].sigmoid()
                line[:, :, 0, column] = white.float()
        return images


def _gated(values: Tensor) -> Tensor:
    signal, gate = values.chunk(2, dim=1)
    return signal.tanh() * gate.sigmoid()
