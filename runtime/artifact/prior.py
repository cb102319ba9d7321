"""Priors that are fitted after training: a Gaussian mixture over latents, `prior.npz`.

A VAE's decoder is trained on latents of the aggregate posterior q(z) = mean over x of q(z|x), which
always differs somewhat from N(0, I) (Hoffman & Johnson 2016, "ELBO surgery"). A density fitted to
q(z) gives fewer samples where the decoder was not trained (Ghosh et al. 2020, arXiv:1903.12436).

`prior.npz` holds `weights` float64 [K], `means` float32 [K, Z], and `factors` float32 [K, Z, Z],
the lower Cholesky factors of the covariances. Z is the number of values in a latent: latents of
any shape are flattened to rows.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from runtime.artifact.manifest import PRIOR
from runtime.errors import ArtifactError
from runtime.images import Float32Array
from runtime.sampling.posterior import MAX_LATENT
from runtime.sampling.streams import Items, Stream, normals, uniforms


@dataclass(frozen=True, eq=False)
class Mixture:
    """A mixture of K normals over latents of size Z."""

    weights: NDArray[np.float64]
    """[K], positive, their sum is 1."""
    means: Float32Array
    """[K, Z]"""
    factors: Float32Array
    """[K, Z, Z]: lower triangular L with positive diagonal, the covariance is L L^T."""

    @classmethod
    def of(cls, arrays: Mapping[str, NDArray[Any]], size: int) -> "Mixture":
        """From the arrays of a `prior.npz` for latents of `size` values; ArtifactError where they
        are no such mixture."""
        components = len(np.atleast_1d(arrays.get("weights", np.empty(0))))
        expected = {
            "weights": (np.dtype(np.float64), (components,)),
            "means": (np.dtype(np.float32), (components, size)),
            "factors": (np.dtype(np.float32), (components, size, size)),
        }
        found = {name: (array.dtype, array.shape) for name, array in arrays.items()}
        if found != expected or not components:
            raise ArtifactError(
                PRIOR, f"expected {_described(expected)}, K at least 1, found {_described(found)}"
            )
        mixture = cls(**arrays)
        mixture._check()
        return mixture

    def _check(self) -> None:
        for name, array in self.arrays().items():
            if not (np.abs(array) <= MAX_LATENT).all():  # NaN fails too
                raise ArtifactError(PRIOR, f"{name}: expected finite values up to {MAX_LATENT:g}")
        total = float(self.weights.sum())
        if not ((self.weights > 0).all() and abs(total - 1.0) <= 1e-9):
            raise ArtifactError(
                PRIOR, f"weights: expected positive ones of sum 1, found a sum of {total:.12g}"
            )
        if np.triu(self.factors, 1).any() or not (self._diagonals > 0).all():
            raise ArtifactError(
                PRIOR, "factors: expected lower triangular ones with positive diagonals"
            )

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The content of `prior.npz`."""
        return {"weights": self.weights, "means": self.means, "factors": self.factors}

    def latents(self, items: Items, truncation: float | None = None) -> Float32Array:
        """[count, Z]: z = mean_k + L_k n. The normals n are those of N(0, I) for the same items and
        truncation; one uniform from a separate stream chooses the component k.

        Products are summed one by one in float64, in the order of the columns, which gives the same
        bits on every machine and in any batch.
        """
        chosen = self.components(items)
        noise = normals(items, Stream.LATENT, self.means.shape[1], truncation)
        wide = noise.astype(np.float64)
        latents = self.means[chosen].astype(np.float64)
        # A column at a time: those of all would take Z times the memory of the latents.
        for column, values in zip(self._columns, wide.T[:, :, None], strict=True):
            latents += column[chosen] * values
        return latents.astype(np.float32)

    def components(self, items: Items) -> NDArray[np.int64]:
        """[count]: the component from which each item is drawn."""
        uniform = uniforms(items, Stream.MIXTURE_COMPONENT, 1)[:, 0]
        return np.searchsorted(self._edges, uniform, side="right")

    def log_density(self, latents: Float32Array) -> NDArray[np.float64]:
        """log p(z) of latents [n, *latent] in nats: [n]."""
        # Imported on first use, as in `runtime.sampling.streams`.
        from scipy.linalg import solve_triangular  # pyright: ignore
        from scipy.special import logsumexp  # pyright: ignore

        solve = cast(Any, solve_triangular)
        rows = latents.reshape(len(latents), -1).astype(np.float64)
        terms = np.empty((len(self.weights), len(rows)))
        constants = np.log(self.weights) - np.log(self._diagonals).sum(axis=1)
        constants -= 0.5 * rows.shape[1] * np.log(2 * np.pi)
        for k, (mean, factor) in enumerate(zip(self.means, self.factors, strict=True)):
            noise = np.array(solve(factor.astype(np.float64), (rows - mean).T, lower=True))
            terms[k] = constants[k] - 0.5 * np.square(noise).sum(axis=0)
        return np.asarray(logsumexp(terms, axis=0), np.float64)

    def quantiles(self, axis: int, probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
        """The quantiles of one latent axis's marginal distribution at these probabilities, by
        bisection: [n]."""
        from scipy.special import ndtr  # pyright: ignore[reportMissingTypeStubs]

        means = self.means[:, axis].astype(np.float64)
        scales = np.linalg.norm(self.factors[:, axis].astype(np.float64), axis=1)
        low = np.full(len(probabilities), (means - 40 * scales).min())
        high = np.full(len(probabilities), (means + 40 * scales).max())
        for _ in range(60):
            middle = (low + high) / 2
            shares: NDArray[np.float64] = ndtr((middle[:, None] - means) / scales)
            below = shares @ self.weights < probabilities
            low, high = np.where(below, middle, low), np.where(below, high, middle)
        return (low + high) / 2

    @cached_property
    def _edges(self) -> NDArray[np.float64]:
        """[K - 1]: the cumulative weights that separate the components in (0, 1)."""
        return np.cumsum(self.weights)[:-1]

    @cached_property
    def _columns(self) -> NDArray[np.float64]:
        """[Z, K, Z]: column j of every factor."""
        return np.ascontiguousarray(self.factors.transpose(2, 0, 1), np.float64)

    @property
    def _diagonals(self) -> Float32Array:
        return np.diagonal(self.factors, axis1=1, axis2=2)


def standard_normal_log_density(latents: Float32Array) -> NDArray[np.float64]:
    """log N(z; 0, I) of latents [n, *latent] in nats: [n]."""
    rows = latents.reshape(len(latents), -1)
    return -0.5 * (np.square(rows, dtype=np.float64) + np.log(2 * np.pi)).sum(axis=1)


def _described(arrays: Mapping[str, tuple[np.dtype[Any], tuple[int, ...]]]) -> str:
    return ", ".join(f"{name} {dtype} {list(shape)}" for name, (dtype, shape) in arrays.items())
