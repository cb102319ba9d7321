"""Differentiable augmentation: the same random change for the discriminator's real and fake images.

Zhao et al. (2020), "Differentiable Augmentation for Data-Efficient GAN Training",
arXiv:2006.10738: because the generator's gradient passes through the change, the change is not
learned as part of the data, yet the discriminator cannot memorise a small data set.

Images are float [B, C, H, W] in [-1, 1].
"""

from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

Augmentation = Literal["flip", "colour", "shift", "cutout"]

SHIFT = 0.125
"""Largest shift, as a fraction of each side."""
CUTOUT = 0.5
"""Sides of the erased rectangle, as a fraction of the image's."""


def augment(images: Tensor, policy: Sequence[Augmentation]) -> Tensor:
    """Apply the named changes in order, each drawn again for every image."""
    for name in policy:
        images = _CHANGES[name](images)
    return images


def _uniform(images: Tensor) -> Tensor:
    return torch.rand(len(images), 1, 1, 1, device=images.device)


def _flip(images: Tensor) -> Tensor:
    return torch.where(_uniform(images) < 0.5, images.flip(3), images)


def _colour(images: Tensor) -> Tensor:
    """Brightness +-0.5, saturation x[0, 2], contrast x[0.5, 1.5], as in the paper's code."""
    images = images + (_uniform(images) - 0.5)
    grey = images.mean(dim=1, keepdim=True)
    images = grey + (images - grey) * (2 * _uniform(images))
    mean = images.mean(dim=(1, 2, 3), keepdim=True)
    return mean + (images - mean) * (0.5 + _uniform(images))


def _shift(images: Tensor) -> Tensor:
    """Whole-pixel shift in both directions; what comes in from outside is zero (mid-grey)."""
    batch, _, height, width = images.shape
    down, right = round(height * SHIFT), round(width * SHIFT)
    padded = functional.pad(images, (right, right, down, down))
    device = images.device
    rows = torch.randint(0, 2 * down + 1, (batch, 1), device=device)
    columns = torch.randint(0, 2 * right + 1, (batch, 1), device=device)
    rows = rows + torch.arange(height, device=device)
    columns = columns + torch.arange(width, device=device)
    chosen = torch.arange(batch, device=device)[:, None, None]
    # Advanced indexing puts the channels last: [B, H, W, C].
    return padded.permute(0, 2, 3, 1)[chosen, rows[:, :, None], columns[:, None, :]].permute(
        0, 3, 1, 2
    )


def _cutout(images: Tensor) -> Tensor:
    """Set one rectangle to zero; its centre lies anywhere, so part of it may fall outside."""
    batch, _, height, width = images.shape
    device = images.device

    def outside(size: int) -> Tensor:
        length = round(size * CUTOUT)
        centre = torch.randint(0, size + 1 - length % 2, (batch, 1), device=device)
        position = torch.arange(size, device=device)
        low = centre - length // 2
        return (position < low) | (position >= low + length)

    kept = outside(height)[:, :, None] | outside(width)[:, None, :]
    return images * kept[:, None]


_CHANGES: dict[Augmentation, Callable[[Tensor], Tensor]] = {
    "flip": _flip,
    "colour": _colour,
    "shift": _shift,
    "cutout": _cutout,
}
