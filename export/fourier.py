"""The two-dimensional Fourier transform of real images as products with matrices.

ONNX has no operator for it that all engines run. The matrices are computed from the size inside the
graph; at the sizes where networks use it (an eighth of the image's), the products cost little.
Shapes: B batch, C channels, H height, W width, K = W // 2 + 1.
"""

import math

import torch
from torch import Tensor, nn


def rfft2(images: Tensor) -> tuple[Tensor, Tensor]:
    """Real and imaginary part [B, C, H, K] of `torch.fft.rfft2(images, norm="ortho")`."""
    height, width = images.shape[-2:]
    cosine, sine = _waves(width)
    half = width // 2 + 1
    real, imaginary = images @ cosine[:, :half], -(images @ sine[:, :half])
    cosine, sine = _waves(height)
    return cosine @ real + sine @ imaginary, cosine @ imaginary - sine @ real


def irfft2(real: Tensor, imaginary: Tensor, width: int) -> Tensor:
    """`torch.fft.irfft2(torch.complex(real, imaginary), norm="ortho")`: [B, C, H, width]."""
    cosine, sine = _waves(real.shape[-2])
    real, imaginary = cosine @ real - sine @ imaginary, cosine @ imaginary + sine @ real
    cosine, sine = _waves(width)
    half = width // 2 + 1
    # All frequencies but the first, and the middle one of an even width, stand for two.
    numbers = torch.arange(half)
    twice = 2.0 - (numbers == 0).float() - (2 * numbers == width).float()
    return (real * twice) @ cosine[:half] - (imaginary * twice) @ sine[:half]


class RealFourierUnit(nn.Module):
    """LaMa's FourierUnit without complex numbers: a convolution of the spectrum."""

    def __init__(self, unit: nn.Module) -> None:
        super().__init__()
        self.spectral = nn.Sequential(unit.conv_layer, unit.bn, unit.relu)  # pyright: ignore

    def forward(self, images: Tensor) -> Tensor:
        spectrum = torch.stack(rfft2(images), dim=2).flatten(1, 2)
        real, imaginary = self.spectral(spectrum).unflatten(1, (-1, 2)).unbind(2)
        return irfft2(real, imaginary, images.shape[-1])


def _waves(length: int) -> tuple[Tensor, Tensor]:
    """Cosine and sine [length, length] of all frequencies at all places, over sqrt(length)."""
    numbers = torch.arange(length)
    # Whole turns taken off as integers: no float is large enough to lose digits.
    turns = (numbers[:, None] * numbers) % length
    angles = turns.float() * (2 * math.pi) / length
    norm = length**-0.5
    return angles.cos() * norm, angles.sin() * norm
