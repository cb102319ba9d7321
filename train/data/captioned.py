"""Shapes with captions: one grey shape a picture, of the size, shade, kind and place that it says.

What the caption leaves open differs from picture to picture: where exactly, how large, how bright.
"""

from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from runtime.images import ImageSpec
from train.captions import shapes
from train.data.dataset import OURS, Dataset, Splits
from train.data.source import Options, source

SIDE = 32
"""Pixels."""
EACH = 100
"""Pictures of each caption."""
_PART = 500
"""Pictures that are drawn at a time."""
_SIZES = np.array([3.5, 6.5])  # half of a square's side, pixels
_SHADES = np.array([0.4, 0.95])  # of white
_PLACES = np.array([8.5, 16.0, 23.5])  # pixels from the top or the left
_TURNS = np.array([[0.0, np.pi / 4], [0.0, np.pi], [0.0, 0.0]])  # of each kind, radians
_VARIED = {"place": 1.2, "size": 0.4, "shade": 0.05, "turn": 0.1}
"""How far a picture may be from what its caption says, uniformly to both sides."""


def draw(attributes: NDArray[np.int64], seed: int) -> NDArray[np.uint8]:
    """Attributes [N, 6] as `train.captions` numbers them -> pictures uint8 [N, SIDE, SIDE, 1]."""
    size, shade, kind, row, column, turned = attributes.T
    varied = np.random.default_rng(seed).uniform(-1, 1, (5, len(attributes)))
    factors = np.stack(
        [
            kind,
            _PLACES[column] + _VARIED["place"] * varied[0],
            _PLACES[row] + _VARIED["place"] * varied[1],
            _SIZES[size] + _VARIED["size"] * varied[2],
            _TURNS[kind, turned] + _VARIED["turn"] * varied[3],
            _SHADES[shade] + _VARIED["shade"] * varied[4],
        ]
    )
    parts = np.array_split(factors, -(-len(attributes) // _PART), axis=1)
    return np.concatenate([_drawn(*part) for part in parts])


def _drawn(
    kind: NDArray, x: NDArray, y: NDArray, half: NDArray, angle: NDArray, shade: NDArray
) -> NDArray[np.uint8]:
    """Shapes [N] by their kind, centre, half side and angle: [N, SIDE, SIDE, 1].

    A pixel's grey is the shade times the share of it that the shape covers, to first order.
    """
    kind, x, y, half, angle, shade = (v[:, None, None] for v in (kind, x, y, half, angle, shade))
    down, right = np.mgrid[:SIDE, :SIDE] + 0.5
    across = (right - x) * np.cos(angle) + (down - y) * np.sin(angle)
    along = (down - y) * np.cos(angle) - (right - x) * np.sin(angle)
    # Signed distances, negative inside; the three shapes are of about one area.
    square = np.maximum(np.abs(across), np.abs(along)) - half
    circle = np.hypot(across, along) - 1.12 * half
    slanted = np.abs(across) * np.sin(np.pi / 3) - along * np.cos(np.pi / 3)
    triangle = np.maximum(slanted, along) - 0.85 * half
    outside = np.choose(kind.astype(int), [square, triangle, circle])
    covered = np.clip(0.5 - outside, 0, 1)
    return np.rint(255 * shade.clip(0, 1) * covered).astype(np.uint8)[..., None]


@lru_cache(maxsize=1)
def load_captioned() -> Splits:
    """EACH pictures of every caption, labelled by its number; those of captions that are held out
    are the test set."""
    captions = shapes()

    def part(name: str, chosen: NDArray[np.bool_], seed: int) -> Dataset:
        labels = np.repeat(np.flatnonzero(chosen), EACH)
        return Dataset(
            name=name,
            images=draw(captions.attributes[labels], seed),
            labels=labels,
            classes=captions.texts,
            licence=OURS,
        )

    return Splits(
        part("captioned-shapes", captions.seen, 0),
        part("captioned-shapes-unseen", ~captions.seen, 1),
    )


@source("captioned-shapes", files=False)
def load(path: Path | None, spec: ImageSpec, options: Options) -> Splits:
    return load_captioned()
