"""Inpainting: a translator that sees the mask, and of the picture only what lies outside it.

Shapes: B batch, C channels, H height, W width.
"""

import torch
from torch import Tensor, nn


class Masked(nn.Module):
    """Images [B, C, H, W] and a mask [B, 1, H, W] -> the images, filled where the mask is 1.

    `translator` is given both behind one another, C + 1 channels, with the hole at mid-grey; what
    lies outside stays as it was.
    """

    def __init__(self, translator: nn.Module) -> None:
        super().__init__()
        self.translator = translator

    def forward(self, images: Tensor, mask: Tensor) -> Tensor:
        hole = (mask >= 0.5).to(images.dtype)
        known = images * (1 - hole)
        return known + hole * self.translator(torch.cat([known, hole], dim=1))
