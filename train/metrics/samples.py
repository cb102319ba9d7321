"""How good samples are: estimators on arrays, which know nothing of models.

Shapes: N, M images, D values or features an image, K classes.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike, NDArray

_CHUNK_VALUES = 1 << 22
"""Distances in memory at a time; bounds what the pairwise estimators take (32 MiB)."""


def frechet_distance(a: ArrayLike, b: ArrayLike) -> float:
    """Squared Fréchet distance of the normals fitted to two sets of features, [N, D] and [M, D].

    |mean_a - mean_b|^2 + tr(A + B - 2 (A B)^(1/2)) with the covariances A and B (Dowson and
    Landau 1982; Heusel et al. 2017, arXiv:1706.08500, eq. 6, with Inception's features, which
    are not ours). Biased upwards for small sets: compare at equal N, M and D only, and beside
    the distance between two real sets.
    """
    a, b = _features("a", a), _features("b", b)
    if a.shape[1] != b.shape[1]:
        raise ValueError(f"b: expected {a.shape[1]} features as in a, found {b.shape[1]}")
    covariance_a, covariance_b = _covariance(a), _covariance(b)
    # tr (A B)^(1/2) is the sum of the singular values of A^(1/2) B^(1/2): no square root of an
    # asymmetric matrix, so singular covariances are harmless.
    product = _symmetric_root(covariance_a) @ _symmetric_root(covariance_b)
    cross = np.linalg.svd(product, compute_uv=False).sum()
    shift = a.mean(axis=0) - b.mean(axis=0)
    distance = shift @ shift + np.trace(covariance_a) + np.trace(covariance_b) - 2 * cross
    return max(float(distance), 0.0)


def mean_pairwise_distance(points: ArrayLike) -> float:
    """Mean Euclidean distance over all N (N - 1) / 2 pairs of different rows of [N, D], N >= 2.

    Unbiased for the distance of two independent draws. Divided by sqrt(D) it is the
    root-mean-square difference of one value.
    """
    points = _features("points", points)
    total = sum(float(np.sqrt(block).sum()) for _, block in _squared_distances(points, points))
    return total / (len(points) * (len(points) - 1))


def nearest_neighbours(
    queries: ArrayLike, points: ArrayLike
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The nearest of `points` [M, D] for each of `queries` [N, D]: indices [N], distances [N]."""
    queries, points = _rows("queries", queries, 1), _rows("points", points, 1)
    indices, distances = [], []
    for start, block in _squared_distances(queries, points):
        nearest = block.argmin(axis=1)
        indices.append(nearest)
        # The fast formula cancels for near-identical rows; the winner's distance is exact.
        difference = queries[start : start + len(block)] - points[nearest]
        distances.append(np.linalg.norm(difference, axis=1))
    return np.concatenate(indices), np.concatenate(distances)


def density_coverage(
    generated: ArrayLike, real: ArrayLike, neighbours: int = 5
) -> tuple[float, float]:
    """(density, coverage) of generated features [N, D] against real ones [M, D] (Naeem et al.
    2020, arXiv:2002.09797, eq. 6 and 8, k = 5).

    Each real row has a ball up to its k-th nearest other real row. Density: balls around a
    generated row, over k, about 1 where both sets come from one distribution, unbounded above.
    Coverage: the share of real rows whose ball holds a generated one, in [0, 1].
    """
    generated, real = _rows("generated", generated, 1), _rows("real", real, neighbours + 1)
    radii = _squared_radii(real, neighbours)
    inside = 0
    covered = 0
    for start, block in _squared_distances(real, generated):
        within = block < radii[start : start + len(block), None]
        inside += int(within.sum())
        covered += int(within.any(axis=1).sum())
    return inside / (neighbours * len(generated)), covered / len(real)


def precision_recall(
    generated: ArrayLike, real: ArrayLike, neighbours: int = 3
) -> tuple[float, float]:
    """(precision, recall) of generated features [N, D] against real ones [M, D] (Kynkäänniemi et
    al. 2019, arXiv:1904.06991, eq. 1 and 2, k = 3).

    Each set is taken for the union of the balls of its rows, each up to its k-th nearest other
    row. Precision: the share of generated rows within the real set; recall: the share of real rows
    within the generated one. Two draws of one distribution are below 1, by more for small k and
    many dimensions: compare at equal N and M, beside the figures of a second real set.
    """
    generated = _rows("generated", generated, neighbours + 1)
    real = _rows("real", real, neighbours + 1)
    return _share_within(generated, real, neighbours), _share_within(real, generated, neighbours)


def class_shares(labels: ArrayLike, classes: int) -> NDArray[np.float64]:
    """The share of each class among `labels` [N], integers in [0, classes): [K], sum 1."""
    labels = np.asarray(labels)
    if labels.ndim != 1 or not len(labels) or labels.min() < 0 or labels.max() >= classes:
        raise ValueError(f"labels: expected [N] integers from 0 to {classes - 1}, N at least 1")
    return np.bincount(labels, minlength=classes) / len(labels)


def mode_coverage(modes: ArrayLike, count: int) -> tuple[int, float]:
    """(modes drawn at least once, KL(drawn || uniform) in nats) of `modes` [N], in [0, count).

    Metz et al. (2017), arXiv:1611.02163, section 3.3.1. N draws that are in truth uniform still
    have a KL of about (count - 1) / (2 N) and miss count * exp(-N / count) modes: compare at equal
    N, beside the same figures of real images.
    """
    shares = class_shares(modes, count)
    drawn = shares[shares > 0]
    return len(drawn), float((drawn * np.log(drawn * count)).sum())


def _squared_radii(points: NDArray[np.float64], neighbours: int) -> NDArray[np.float64]:
    """The squared distance [M] of each row to its k-th nearest other row."""
    blocks = [
        # The row itself is its own nearest, at distance 0 to within rounding.
        np.partition(block, neighbours, axis=1)[:, neighbours]
        for _, block in _squared_distances(points, points)
    ]
    return np.concatenate(blocks)


def _share_within(
    queries: NDArray[np.float64], points: NDArray[np.float64], neighbours: int
) -> float:
    """The share of queries that lie in a ball of at least one of the points."""
    radii = _squared_radii(points, neighbours)
    within = [(block <= radii).any(axis=1) for _, block in _squared_distances(queries, points)]
    return float(np.concatenate(within).mean())


def _squared_distances(
    queries: NDArray[np.float64], points: NDArray[np.float64]
) -> Iterator[tuple[int, NDArray[np.float64]]]:
    """(first row, squared distances [rows, M]) in chunks; |a - b|^2 = |a|^2 + |b|^2 - 2 a.b.

    Centred on the points' mean, so that the subtraction loses little. A set against itself has
    exact zeros on its diagonal.
    """
    same = queries is points
    centre = points.mean(axis=0)
    points = points - centre
    norms = np.einsum("nd,nd->n", points, points)
    rows = max(1, _CHUNK_VALUES // len(points))
    for start in range(0, len(queries), rows):
        chunk = queries[start : start + rows] - centre
        squared = chunk @ points.T
        squared *= -2
        squared += norms
        squared += np.einsum("nd,nd->n", chunk, chunk)[:, None]
        np.maximum(squared, 0, out=squared)
        if same:
            own = np.arange(len(chunk))
            squared[own, start + own] = 0
        yield start, squared


def _covariance(features: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.atleast_2d(np.cov(features, rowvar=False))


def _symmetric_root(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    values, vectors = np.linalg.eigh(matrix)
    return (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T


def _features(name: str, array: ArrayLike) -> NDArray[np.float64]:
    return _rows(name, array, 2)


def _rows(name: str, array: ArrayLike, least: int) -> NDArray[np.float64]:
    rows = np.asarray(array, dtype=np.float64)
    if rows.ndim != 2 or len(rows) < least:
        raise ValueError(
            f"{name}: expected [N, D] with N at least {least}, found {list(rows.shape)}"
        )
    if not np.isfinite(rows).all():
        raise ValueError(f"{name}: expected finite values, found NaN or infinity")
    return rows
