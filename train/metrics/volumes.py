"""How alike volumes are, and how much of a set others cover.

Shapes: N, M volumes of V voxels, in any arrangement; every array is of booleans, True where filled.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray


def intersection_over_union(a: ArrayLike, b: ArrayLike) -> NDArray[np.float64]:
    """|a and b| / |a or b| of each pair of volumes, [N, ...] and [N, ...]: [N], 1 where both are
    empty."""
    a, b = _flat("a", a), _flat("b", b)
    if a.shape != b.shape:
        raise ValueError(f"b: expected the shape of a, {list(a.shape)}, found {list(b.shape)}")
    return _ratio((a & b).sum(axis=1), (a | b).sum(axis=1))


def nearest_overlaps(generated: ArrayLike, real: ArrayLike) -> tuple[float, float]:
    """(coverage, mean overlap) of real volumes [M, ...] by generated ones [N, ...].

    Each generated volume is matched with the real one of the largest intersection over union.
    Coverage: the share of real volumes that any is matched with; mean overlap: that of each real
    volume with the generated one nearest to it (Achlioptas et al. 2018, arXiv:1707.02392, section
    2: COV and MMD, there with distances between point sets). Two draws of one distribution cover
    each other in part alone: compare at equal N and M, beside the figures of a second real set.
    """
    a, b = _flat("generated", generated), _flat("real", real)
    if a.shape[1] != b.shape[1]:
        raise ValueError(f"real: expected {a.shape[1]} voxels, found {b.shape[1]}")
    both = a.astype(np.float32) @ b.astype(np.float32).T  # exact: counts below 2^24
    either = a.sum(axis=1)[:, None] + b.sum(axis=1)[None] - both
    overlaps = _ratio(both, either)
    covered = np.unique(overlaps.argmax(axis=1))
    return len(covered) / len(b), float(overlaps.max(axis=0).mean())


def _ratio(both: NDArray, either: NDArray) -> NDArray[np.float64]:
    empty = either == 0
    return np.where(empty, 1.0, both / np.where(empty, 1, either))


def _flat(name: str, volumes: ArrayLike) -> NDArray[np.bool_]:
    array = np.asarray(volumes)
    if array.dtype != bool or array.ndim < 2 or not len(array):
        raise ValueError(
            f"{name}: expected booleans [N, ...] with N at least 1, "
            f"found {array.dtype} {list(array.shape)}"
        )
    return array.reshape(len(array), -1)
