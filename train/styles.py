"""Pictures whose style is taken over: drawn in code, so that they are nobody's and always there."""

from collections.abc import Callable

import torch
from torch import Tensor

SIDE = 64
"""Styles are compared by means over positions: the pictures may have any size."""


def style_picture(name: str) -> Tensor:
    """The picture of a style, float [1, 3, SIDE, SIDE] in [-1, 1]; the same on every machine."""
    return STYLES[name]()[None]


def _mosaic() -> Tensor:
    """Bright tiles of one colour each, around random centres, with dark joints between them."""
    generator = torch.Generator().manual_seed(0)
    count = 60
    centres = torch.rand(count, 2, generator=generator) * SIDE
    colours = torch.rand(count, 3, generator=generator).round() * 1.4 - 0.7
    distances, order = (_grid()[:, :, None] - centres).norm(dim=-1).sort(dim=-1)
    joint = distances[..., 1] - distances[..., 0] < 1.5
    picture = torch.where(joint[..., None], -1.0, colours[order[..., 0]])
    return picture.permute(2, 0, 1)


def _waves() -> Tensor:
    """Stripes of blue, white and orange that swing across the picture."""
    rows, columns = _grid().unbind(-1)
    phase = columns / 10 + 0.6 * torch.sin(rows / 6) + 0.3 * torch.sin((rows + columns) / 9)
    shares = torch.tensor([0.0, 0.15, 0.5])
    return torch.cos(2 * torch.pi * (phase - shares[:, None, None]))


def _grid() -> Tensor:
    """The place of each pixel, [SIDE, SIDE, 2]: row and column."""
    places = torch.arange(SIDE, dtype=torch.float32)
    return torch.stack(torch.meshgrid(places, places, indexing="ij"), dim=-1)


STYLES: dict[str, Callable[[], Tensor]] = {"mosaic": _mosaic, "waves": _waves}
