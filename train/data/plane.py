"""Points in the plane, made in code: two rings, and a grid of Gaussians.

What a GAN or a VAE learns of them can be seen whole, while it learns. A point is an image of
1 x 2 grey pixels, x (to the right) and y (upwards), each from 0 to 255 over the unit square.
"""

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from runtime.images import ImageSpec
from train.data.dataset import OURS, Dataset, Splits
from train.data.source import Options, source

COUNT, TEST_COUNT = 20_000, 2_000
"""Points to train on, and held out."""
RADII = (0.18, 0.38)
"""Of the rings, around the middle."""
PLACES = (0.2, 0.5, 0.8)
"""The x and the y of the Gaussians."""
SPREAD = 0.015
"""Standard deviation of a point around its place on a ring or in the grid."""
SPEC = ImageSpec(height=1, width=2, channels=1)
"""The image that a point is."""

Places = Callable[[int, np.random.Generator], tuple[NDArray[np.float64], NDArray[np.int64]]]
"""Number of points -> where they are without their spread [n, 2], and of which class [n]."""


def on_rings(
    count: int, generator: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Evenly on two circles, the class 0 on the inner one."""
    labels = generator.integers(0, len(RADII), count)
    angles = generator.uniform(0, 2 * math.pi, count)
    directions = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    return 0.5 + np.array(RADII)[labels, None] * directions, labels


def in_grid(
    count: int, generator: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Evenly in the middles of a square grid; classes row by row from the lowest."""
    labels = generator.integers(0, len(PLACES) ** 2, count)
    rows, columns = np.divmod(labels, len(PLACES))
    return np.array(PLACES)[np.stack([columns, rows], axis=1)], labels


def to_images(points: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Points of the unit square [n, 2] -> images uint8 [n, 1, 2, 1]."""
    return np.rint(255 * points.clip(0, 1)).astype(np.uint8)[:, None, :, None]


def _load(
    path: Path | None, spec: ImageSpec, options: Options, *, name: str, places: Places
) -> Splits:
    def part(name: str, count: int, seed: int) -> Dataset:
        generator = np.random.default_rng(seed)
        where, labels = places(count, generator)
        return Dataset(
            name=name,
            images=to_images(where + generator.normal(0, SPREAD, where.shape)),
            labels=labels,
            classes=tuple(f"{name} {label}" for label in range(labels.max() + 1)),
            licence=OURS,
        )

    return Splits(part(name, COUNT, seed=0), part(f"{name}-test", TEST_COUNT, seed=1))


source("rings", files=False)(partial(_load, name="rings", places=on_rings))
source("gaussians", files=False)(partial(_load, name="gaussians", places=in_grid))
