"""Synthetic images with known factors: one rectangle, placed, sized, turned and shaded.

After dSprites (Matthey et al. 2017), in code instead of a download, and with the shade as a factor.
Every combination of the factors' values is one image.
"""

import math
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from runtime.images import ImageSpec
from train.data.dataset import OURS, Dataset, Splits
from train.data.source import Options, source

SIDE = 32
"""Pixels."""
FACTORS: dict[str, NDArray[np.float64]] = {
    "x": np.linspace(10, 22, 9),  # centre, pixels from the left
    "y": np.linspace(10, 22, 9),  # pixels from the top
    "size": np.linspace(5, 9, 5),  # half of the longer side, pixels
    "angle": np.arange(8) * math.pi / 8,  # radians; a rectangle is itself again after pi
    "shade": np.linspace(0.4, 1.0, 4),  # of white
}
"""Each factor's values, in the order in which images are counted (the last one fastest)."""
ASPECT = 0.4
"""Shorter side over longer side."""
HELD_OUT = 10
"""One image in so many is held out."""


def factor_table() -> NDArray[np.int64]:
    """Every image's index into each factor's values, int64 [N, 5]."""
    grid = np.indices([len(values) for values in FACTORS.values()])
    return grid.reshape(len(FACTORS), -1).T


def draw(factors: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Indices into the factors' values [N, 5] -> images uint8 [N, SIDE, SIDE, 1] on black.

    A pixel's grey is the shade times the share of it that the shape covers, to first order: the
    distance of its centre to the edge, between half a pixel inside and half a pixel outside.
    """
    x, y, size, angle, shade = (
        values[index][:, None, None]
        for values, index in zip(FACTORS.values(), factors.T, strict=True)
    )
    down, right = np.mgrid[:SIDE, :SIDE] + 0.5
    along = (right - x) * np.cos(angle) + (down - y) * np.sin(angle)
    across = (down - y) * np.cos(angle) - (right - x) * np.sin(angle)
    # Signed distance to the nearer pair of edges, negative inside.
    outside = np.maximum(np.abs(along) - size, np.abs(across) - ASPECT * size)
    covered = np.clip(0.5 - outside, 0, 1)
    return np.rint(255 * shade * covered).astype(np.uint8)[..., None]


@lru_cache(maxsize=1)
def load_shapes() -> Splits:
    """All images in a fixed random order, one in ten held out. One class."""
    chosen = np.random.default_rng(0).permutation(len(factor_table()))
    images = np.concatenate([draw(part) for part in np.array_split(factor_table()[chosen], 20)])

    def part(name: str, images: NDArray[np.uint8]) -> Dataset:
        return Dataset(
            name=name,
            images=images,
            labels=np.zeros(len(images), np.int64),
            classes=("rectangle",),
            licence=OURS,
        )

    held_out = len(images) // HELD_OUT
    return Splits(part("shapes", images[held_out:]), part("shapes-test", images[:held_out]))


@source("shapes", files=False)
def load(path: Path | None, spec: ImageSpec, options: Options) -> Splits:
    return load_shapes().validated(options.validation)
