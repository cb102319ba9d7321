"""Image-to-image tasks: what a translator is given of the picture that it should make.

Each is a pure function of pixels, so that every set of pictures is also one of pairs. Pictures are
float [B, C, H, W] in [-1, 1]; what is given has whole grey levels, as an artifact is given them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

SCALE = 4
"""How many times larger, along each side, the picture is than what "enlarge" gives of it."""

Inputs = tuple[Tensor, ...]
"""What a translator is called with: images [B, C', H', W'], and behind them, where the task has
one, a mask [B, 1, H, W], 1 where it is to act and 0 elsewhere."""

Channels = Literal[1, 2, 3, 4]
"""As `runtime.images.ImageSpec` has them."""


@dataclass(frozen=True)
class Task:
    """One task: `given` makes the inputs of the pictures."""

    given: Callable[[Tensor], Inputs]
    grey: bool = False
    """The images that are given have one channel; otherwise as many as the pictures."""
    scale: int = 1
    """How many times larger the picture is than they are."""
    masked: bool = False
    takes: tuple[Channels, ...] = (1, 2, 3, 4)
    """Channels that the pictures may have."""

    def channels(self, pictures: Channels) -> Channels:
        """Of the images that are given of pictures with so many."""
        return 1 if self.grey else pictures

    def planes(self, pictures: Channels) -> int:
        """Channels of all inputs together."""
        return self.channels(pictures) + self.masked


def _grey(pictures: Tensor) -> Tensor:
    """As `runtime.images` makes pictures grey, so that a service may be given coloured ones."""
    if pictures.shape[1] == 1:
        return _levels(pictures[:, 0])
    red, green, blue = pictures.unbind(1)
    return _levels(0.299 * red + 0.587 * green + 0.114 * blue)


def _edges(pictures: Tensor) -> Tensor:
    """White lines on black: the length of the grey picture's slope, by Sobel's 3x3 filters."""
    grey = torch.nn.functional.pad(_grey(pictures)[:, None], (1, 1, 1, 1), mode="replicate")
    # As sums of slices: a convolution would run in bf16 under autocast.
    smooth_down = grey[:, :, :-2] + 2 * grey[:, :, 1:-1] + grey[:, :, 2:]
    smooth_right = grey[..., :-2] + 2 * grey[..., 1:-1] + grey[..., 2:]
    right = smooth_down[..., 2:] - smooth_down[..., :-2]
    down = smooth_right[:, :, 2:] - smooth_right[:, :, :-2]
    # A step from black to white has a slope of 8; half of that is white already.
    return _levels((right.square() + down.square()).sqrt() / 2 - 1)


def _shrunk(pictures: Tensor) -> Tensor:
    """Means over squares, as `runtime.images` shrinks pictures."""
    return _levels(pictures.unflatten(3, (-1, SCALE)).unflatten(2, (-1, SCALE)).mean(dim=(3, 5)))


def _levels(pictures: Tensor) -> Tensor:
    return (pictures.clamp(-1, 1) * 127.5 + 127.5).round() / 127.5 - 1


def centre_mask(pictures: Tensor) -> Tensor:
    """A rectangle of half the sides in the middle: the task of Pathak et al. (2016), Context
    Encoders, arXiv:1604.07379."""
    mask = torch.zeros_like(pictures[:, :1])
    height, width = mask.shape[2:]
    mask[:, :, height // 4 : height - height // 4, width // 4 : width - width // 4] = 1
    return mask


_CORNERS = 5
_THINNEST, _THICKEST = 0.06, 0.12
"""Half the width of a stroke, as a share of the picture's height."""


def free_mask(pictures: Tensor) -> Tensor:
    """A thick stroke that turns at a few random corners, another one for each picture: irregular
    masks, after Liu et al. (2018), arXiv:1804.07723, and Yu et al. (2019), arXiv:1806.03589."""
    count, _, height, width = pictures.shape
    device = pictures.device
    corners = torch.rand(count, _CORNERS, 2, device=device)
    corners = corners * torch.tensor([height, width], device=device)
    thin, thick = _THINNEST * height, _THICKEST * height
    reach = thin + (thick - thin) * torch.rand(count, 1, 1, device=device)
    rows = torch.arange(height, device=device) + 0.5
    columns = torch.arange(width, device=device) + 0.5
    points = torch.stack(torch.meshgrid(rows, columns, indexing="ij"), dim=-1)  # [H, W, 2]
    start, end = (part[:, :, None, None] for part in (corners[:, :-1], corners[:, 1:]))
    along = end - start
    share = ((points - start) * along).sum(-1) / along.square().sum(-1).clamp(min=1e-6)
    nearest = start + share.clamp(0, 1)[..., None] * along
    distance = (points - nearest).square().sum(-1).sqrt().amin(dim=1)  # [B, H, W]
    return (distance < reach).float()[:, None]


def _mixed_mask(pictures: Tensor) -> Tensor:
    """For training: the middle or a stroke, each for half of the pictures, by chance."""
    middle = torch.rand(len(pictures), 1, 1, 1, device=pictures.device) < 0.5
    return torch.where(middle, centre_mask(pictures), free_mask(pictures))


def _filling(mask: Callable[[Tensor], Tensor]) -> Task:
    """The picture and a mask; what is under the mask the translator itself does not look at."""
    return Task(lambda pictures: (pictures, mask(pictures)), masked=True)


TASKS = {
    "colour": Task(lambda pictures: (_grey(pictures)[:, None],), grey=True, takes=(3,)),
    "edges": Task(lambda pictures: (_edges(pictures),), grey=True, takes=(1, 3)),
    "enlarge": Task(lambda pictures: (_shrunk(pictures),), scale=SCALE),
    "fill": _filling(_mixed_mask),
    "fill_centre": _filling(centre_mask),
    "fill_free": _filling(free_mask),
    "repaint": Task(lambda pictures: (pictures,)),
}
"""Every task by the name of what its translator does."""
