"""Paths and grids through latent space: pure functions of arrays."""

from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from runtime.images import Float32Array

PathKind = Literal["slerp", "lerp"]


class Prior(Protocol):
    """What a grid asks of a prior that is not N(0, I)."""

    def quantiles(
        self, axis: int, probabilities: NDArray[np.float64], /
    ) -> NDArray[np.float64]: ...


def interpolate(
    a: Float32Array, b: Float32Array, fractions: NDArray[np.float64], kind: PathKind
) -> Float32Array:
    """Latents on the path from `a` (fraction 0) to `b` (fraction 1): [*latent] -> [n, *latent].

    `lerp` is the straight line. `slerp` follows the great circle between the two directions
    (Shoemake 1985, "Animating rotation with quaternion curves"; White 2016, arXiv:1609.04468,
    for latents), and the length changes linearly. In high dimensions normal latents are close to
    a sphere, and the straight line leaves it.
    """
    t = fractions.reshape(-1, *([1] * a.ndim))
    start, end = a.astype(np.float64), b.astype(np.float64)
    line = (1.0 - t) * start + t * end
    if kind == "lerp":
        return line.astype(np.float32)
    lengths = np.linalg.norm(start), np.linalg.norm(end)
    if min(lengths) == 0.0:
        return line.astype(np.float32)
    from_direction, to_direction = start / lengths[0], end / lengths[1]
    angle = np.arccos(np.clip(np.vdot(from_direction, to_direction), -1.0, 1.0))
    if np.sin(angle) < 1e-6:  # same or opposite direction: the great circle is not unique
        return line.astype(np.float32)
    direction = np.sin((1.0 - t) * angle) * from_direction + np.sin(t * angle) * to_direction
    length = (1.0 - t) * lengths[0] + t * lengths[1]
    return (direction / np.sin(angle) * length).astype(np.float32)


def manifold_grid(steps: int, prior: Prior | None = None) -> Float32Array:
    """A steps x steps grid over a 2-D latent space, row by row: [steps * steps, 2].

    The steps are equal in probability under the prior, not in coordinates, over the middle 95%
    of each axis: linearly spaced probabilities through the inverse normal distribution function
    (Kingma & Welling 2014, arXiv:1312.6114, appendix A). The first axis points right, the second
    up. For a mixture, each axis uses the quantiles of its own marginal distribution.
    """
    from scipy.special import ndtri  # pyright: ignore[reportMissingTypeStubs]

    probabilities = np.linspace(0.025, 0.975, steps) if steps > 1 else np.array([0.5])
    if prior is None:
        first = second = ndtri(probabilities)
    else:
        first, second = (prior.quantiles(axis, probabilities) for axis in (0, 1))
    across, up = np.meshgrid(first, second[::-1])
    return np.stack([across.ravel(), up.ravel()], axis=1).astype(np.float32)
