"""The two-dimensional Fourier transform of real images as products with matrices.

ONNX has no operator for it that all engines run. The matrices are computed from the size inside the
graph; at the sizes where networks use it (an eighth of the image's), the products cost little.
Shapes: B batch, C channels, H height, W width, K = W // 2 + 1.
"""

import math

import torch
from torch import Tensor, nn

from export.modules.once import once


def rfft2(images: Tensor) -> tuple[Tensor, Tensor]:
    """Real and imaginary part [B, C, H, K] of `torch.fft.rfft2(images, norm="ortho")`."""
    height, width = images.shape[-2:]
    cosine, sine = _waves(width // 2 + 1, width)
    real, imaginary = images @ cosine.T, -(images @ sine.T)
    cosine, sine = _waves(height, height)
    return cosine @ real + sine @ imaginary, cosine @ imaginary - sine @ real


def irfft2(real: Tensor, imaginary: Tensor, width: int) -> Tensor:
    """`torch.fft.irfft2(torch.complex(real, imaginary), norm="ortho")`: [B, C, H, width]."""
    height, frequencies = real.shape[-2:]
    cosine, sine = _waves(height, height)
    real, imaginary = cosine @ real - sine @ imaginary, cosine @ imaginary + sine @ real
    cosine, sine = _waves(frequencies, width)
    twice = _doubles(frequencies, width)
    return (real * twice) @ cosine - (imaginary * twice) @ sine


class RealFourierUnit(nn.Module):
    """LaMa's FourierUnit without complex numbers: a convolution of the spectrum."""

    def __init__(self, unit: nn.Module) -> None:
        super().__init__()
        self.spectral = nn.Sequential(unit.conv_layer, unit.bn, unit.relu)  # pyright: ignore

    def forward(self, images: Tensor) -> Tensor:
        spectrum = torch.stack(rfft2(images), dim=2).flatten(1, 2)
        real, imaginary = self.spectral(spectrum).unflatten(1, (-1, 2)).unbind(2)
        return irfft2(real, imaginary, images.shape[-1])


@once
def _waves(frequencies: int, length: int) -> tuple[Tensor, Tensor]:
    """Cosine and sine [frequencies, length] of the lowest frequencies at all places, over
    sqrt(length)."""
    count = _length(length)
    # Whole turns taken off as integers: no float is large enough to lose digits.
    turns = torch.arange(frequencies)[:, None] * torch.arange(length) % count
    angles = turns * (2 * math.pi / count)
    norm = count.float().rsqrt()
    return angles.cos() * norm, angles.sin() * norm


@once
def _doubles(frequencies: int, length: int) -> Tensor:
    """[frequencies]: 2 for all but the first, and the middle one of an even length: for themselves
    and for one that the spectrum of a real image leaves out."""
    numbers = torch.arange(frequencies)
    return torch.where((numbers == 0) | (2 * numbers == _length(length)), 1.0, 2.0)


def _length(length: int) -> Tensor:
    """As a tensor: not all arithmetic of free sizes becomes operators."""
    return torch.arange(length)[-1] + 1
