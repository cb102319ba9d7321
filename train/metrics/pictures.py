"""How near pictures are to others, pixel by pixel: estimators on arrays, each a mean over pictures.

Pictures are uint8 [N, H, W, C], both sets in the same order.
"""

import math

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import correlate1d

Pictures = NDArray[np.uint8]

_WHITE = 255.0
_REACH, _SIGMA = 5, 1.5
_SMALL = (0.01 * _WHITE) ** 2, (0.03 * _WHITE) ** 2
"""The constants C1 and C2 of SSIM, which keep its quotients from 0 / 0."""


def mean_absolute(made: Pictures, wanted: Pictures) -> float:
    """Mean absolute difference of a value, in grey levels (L1)."""
    return float(np.abs(_difference(made, wanted)).mean())


def psnr(made: Pictures, wanted: Pictures) -> float:
    """Peak signal-to-noise ratio in dB, 10 log10(255^2 / MSE), of each picture and then averaged.

    A picture without any difference counts as one of half a grey level in a single value, or the
    mean would be infinite.
    """
    squares = (_difference(made, wanted) ** 2).reshape(len(made), -1)
    least = 0.25 / squares.shape[1]
    return float((10 * np.log10(_WHITE**2 / np.maximum(squares.mean(axis=1), least))).mean())


def ssim(made: Pictures, wanted: Pictures) -> float:
    """Structural similarity: 1 for equal pictures; Wang et al. (2004), eq. 13, with their Gaussian
    window of 11x11 (sigma 1.5), where it lies within the picture; a mean over channels too.

    Pictures of fewer than 11 pixels along a side raise ValueError.
    """
    if min(made.shape[1:3]) <= 2 * _REACH:
        raise ValueError(
            f"pictures: expected sides of at least {2 * _REACH + 1}, found {made.shape[1:3]}"
        )
    _difference(made[:0], wanted[:0])
    # A part at a time: the moments are five arrays of floats.
    parts = range(0, len(made), 500)
    total = sum(_ssim(made[i : i + 500], wanted[i : i + 500]).sum() for i in parts)
    return float(total) / len(made)


def _ssim(made: Pictures, wanted: Pictures) -> NDArray[np.float64]:
    """[N]"""
    x, y = made.astype(np.float64), wanted.astype(np.float64)
    mean_x, mean_y = _local_mean(x), _local_mean(y)
    variance_x = _local_mean(x * x) - mean_x**2
    variance_y = _local_mean(y * y) - mean_y**2
    covariance = _local_mean(x * y) - mean_x * mean_y
    c1, c2 = _SMALL
    alike = (2 * mean_x * mean_y + c1) * (2 * covariance + c2)
    return (alike / ((mean_x**2 + mean_y**2 + c1) * (variance_x + variance_y + c2))).mean(
        axis=(1, 2, 3)
    )


def _local_mean(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """[N, H, W, C] -> [N, H - 10, W - 10, C]"""
    weights = [math.exp(-0.5 * (i / _SIGMA) ** 2) for i in range(-_REACH, _REACH + 1)]
    window = np.array(weights) / sum(weights)
    inside = slice(_REACH, -_REACH)
    rows = correlate1d(values, window, axis=1)[:, inside]
    return correlate1d(rows, window, axis=2)[:, :, inside]


def _difference(made: Pictures, wanted: Pictures) -> NDArray[np.float64]:
    if made.shape != wanted.shape or made.dtype != np.uint8 or wanted.dtype != np.uint8:
        raise ValueError(
            f"pictures: expected uint8 of one shape, found {made.dtype} {made.shape} and "
            f"{wanted.dtype} {wanted.shape}"
        )
    return made.astype(np.float64) - wanted
