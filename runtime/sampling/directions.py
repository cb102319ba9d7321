"""Principal directions of a latent space: those that change the decoder's images most.

After Härkönen et al. 2020, "GANSpace: Discovering Interpretable GAN Controls" (arXiv:2004.02546),
section 2.2: the principal components of what the network makes of samples, here of its pixels, and
the latent direction of each by least squares.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtime.images import Float32Array, UInt8Array

MAX_DIRECTIONS = 64
_SIDE = 16

Float64Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class PrincipalDirections:
    """The latents mean + sum_i t_i * deviations[i] * directions[i], with each t_i in about
    [-3, 3], are those that the prior draws."""

    directions: Float32Array
    """[k, *latent], of length 1 and orthogonal; the one that changes images most comes first."""
    deviations: Float32Array
    """[k]: the standard deviation of the prior's latents along each."""
    mean: Float32Array
    """[*latent]: that of the latents."""
    samples: int
    """The number of images that they were found from."""

    @property
    def scaled(self) -> Float32Array:
        """[k, *latent]: each as long as one standard deviation along it."""
        lengths = self.deviations.reshape(-1, *[1] * self.mean.ndim)
        return self.directions * lengths

    def first(self, count: int) -> "PrincipalDirections":
        """At most so many of them."""
        kept = self.directions[:count], self.deviations[:count]
        return PrincipalDirections(*kept, self.mean, self.samples)


def principal_directions(
    latents: Float32Array, images: NDArray[Any], count: int = MAX_DIRECTIONS
) -> PrincipalDirections:
    """At most `count` directions, from latents [n, *latent] and the image of each, [n, H, W, C],
    perhaps `reduced`.

    There are no more than the latent has values, and none where all images are alike. The same
    samples give the same directions: each has its largest entry above 0.
    """
    n = len(latents)
    shape = latents.shape[1:]
    z = latents.reshape(n, -1).astype(np.float64)
    mean = z.mean(axis=0)
    z -= mean
    x = images.reshape(n, -1).astype(np.float64)
    x -= x.mean(axis=0)
    variances, components = np.linalg.eigh(x.T @ x)
    varying = variances > 1e-9 * max(1.0, variances[-1])
    # Coordinates along one component are orthogonal to those along any other: least squares of the
    # latents on them are products, whose direction is needed alone.
    coordinates = x @ components[:, varying][:, ::-1]
    found = _orthogonal(coordinates.T @ z, min(count, z.shape[1], n - 1))
    deviations = (z @ found.T).std(axis=0)
    return PrincipalDirections(
        found.reshape(-1, *shape).astype(np.float32),
        deviations.astype(np.float32),
        mean.reshape(shape).astype(np.float32),
        n,
    )


def _orthogonal(slopes: Float64Array, count: int) -> Float64Array:
    """The first `count` rows of [k, d] that point anywhere, each less what those before it have,
    so that two sliders are never one; of length 1, with the largest entry above 0."""
    basis = np.zeros((0, slopes.shape[1]))
    for slope in slopes:
        if len(basis) == count:
            break
        length = np.linalg.norm(slope)
        rest = slope.copy()
        for _ in range(2):  # once more for what rounding left
            rest -= basis.T @ (basis @ rest)
        if np.linalg.norm(rest) > 1e-6 * max(length, 1e-12):
            rest /= np.linalg.norm(rest)
            rest *= np.sign(rest[np.abs(rest).argmax()])
            basis = np.vstack([basis, rest])
    return basis


def reduced(images: UInt8Array) -> Float32Array:
    """Images [n, H, W, C] averaged over equal squares, at most 16 a side: fine detail is no
    direction's own. What is left over at the right and below is cut off."""
    n, height, width, channels = images.shape
    edge = -(-max(height, width) // _SIDE)
    edge = min(edge, height, width)
    down, across = height // edge, width // edge
    whole = images[:, : down * edge, : across * edge]
    cells = whole.reshape(n, down, edge, across, edge, channels)
    return cells.mean(axis=(2, 4), dtype=np.float32)
