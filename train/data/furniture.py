"""Furniture as volumes: five kinds, each drawn in code from a few sizes that vary.

A volume of SIDE^3 voxels is kept as a picture [SIDE * SIDE, SIDE, 1]: its layers from the floor up,
one below another; a filled voxel is white.
"""

from collections.abc import Callable
from functools import lru_cache
from hashlib import sha256
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from runtime.images import ImageSpec
from train.data.dataset import OURS, Dataset, Splits
from train.data.source import Options, source

SIDE = 32
TRAINING, TEST = 4000, 500
"""Volumes, as many of each kind."""
_MIDDLE = SIDE // 2

Voxels = NDArray[np.bool_]
"""[z, y, x]: layers from the floor up, rows from the front to the back."""
Draw = np.random.Generator


def _box(voxels: Voxels, x: tuple[int, int], y: tuple[int, int], z: tuple[int, int]) -> None:
    """Fill a box; each pair is its first voxel and the one behind its last, x and y counted from
    the middle, z from the floor."""
    (left, right), (front, back), (low, high) = x, y, z
    voxels[low:high, _MIDDLE + front : _MIDDLE + back, _MIDDLE + left : _MIDDLE + right] = True


def _disc(voxels: Voxels, radius: float, z: tuple[int, int]) -> None:
    """Fill a cylinder around the middle."""
    y, x = np.mgrid[:SIDE, :SIDE] + 0.5 - _MIDDLE
    voxels[z[0] : z[1], np.hypot(x, y) <= radius] = True


def _legs(voxels: Voxels, half: tuple[int, int], thick: int, high: int) -> None:
    """Four legs under the corners of a plate that reaches `half` to each side, in x and y."""
    for x in ((-half[0], thick - half[0]), (half[0] - thick, half[0])):
        for y in ((-half[1], thick - half[1]), (half[1] - thick, half[1])):
            _box(voxels, x, y, (0, high))


def _table(voxels: Voxels, draw: Draw) -> None:
    high, thick = int(draw.integers(10, 20)), int(draw.integers(1, 4))
    if draw.random() < 0.4:  # a round one on a column
        radius = float(draw.uniform(8, 14))
        _disc(voxels, radius, (high, high + thick))
        _disc(voxels, float(draw.uniform(1.5, 3)), (0, high))
        _disc(voxels, radius / 2, (0, 2))
        return
    x, y = int(draw.integers(9, 15)), int(draw.integers(6, 12))
    _box(voxels, (-x, x), (-y, y), (high, high + thick))
    _legs(voxels, (x, y), int(draw.integers(2, 4)), high)


def _chair(voxels: Voxels, draw: Draw) -> None:
    x, y = int(draw.integers(5, 9)), int(draw.integers(5, 9))
    high, back = int(draw.integers(8, 14)), int(draw.integers(8, 16))
    _box(voxels, (-x, x), (-y, y), (high, high + 2))
    _legs(voxels, (x, y), int(draw.integers(1, 3)), high)
    _box(voxels, (-x, x), (y - 2, y), (high, high + 2 + back))
    if draw.random() < 0.4:  # rests for the arms
        for left in (-x, x - 2):
            _box(voxels, (left, left + 2), (-y, y), (high + 5, high + 7))
            _box(voxels, (left, left + 2), (-y, 2 - y), (high, high + 7))


def _shelf(voxels: Voxels, draw: Draw) -> None:
    x, y = int(draw.integers(6, 13)), int(draw.integers(3, 7))
    high, boards = int(draw.integers(18, 31)), int(draw.integers(3, 6))
    for side in ((-x, 2 - x), (x - 2, x)):
        _box(voxels, side, (-y, y), (0, high))
    for low in np.linspace(0, high - 2, boards).astype(int).tolist():
        _box(voxels, (-x, x), (-y, y), (low, low + 2))
    if draw.random() < 0.5:
        _box(voxels, (-x, x), (y - 1, y), (0, high))


def _lamp(voxels: Voxels, draw: Draw) -> None:
    pole, high = int(draw.integers(14, 22)), int(draw.integers(5, 10))
    wide = float(draw.uniform(6, 11))
    narrow = float(draw.uniform(3, wide))
    _disc(voxels, float(draw.uniform(4, 8)), (0, 2))
    _disc(voxels, 1.5, (0, pole))
    for layer in range(high):
        _disc(voxels, wide + (narrow - wide) * layer / (high - 1), (pole + layer, pole + layer + 1))


def _bed(voxels: Voxels, draw: Draw) -> None:
    x, y = int(draw.integers(6, 13)), int(draw.integers(11, 16))
    foot, thick = int(draw.integers(2, 6)), int(draw.integers(3, 6))
    _box(voxels, (-x, x), (-y, y), (foot, foot + thick))
    _legs(voxels, (x, y), 2, foot)
    board = int(draw.integers(4, 12))
    _box(voxels, (-x, x), (y - 2, y), (foot, foot + thick + board))
    _box(voxels, (2 - x, x - 2), (y - 7, y - 2), (foot + thick, foot + thick + 2))


KINDS: dict[str, Callable[[Voxels, Draw], None]] = {
    "bed": _bed,
    "chair": _chair,
    "lamp": _lamp,
    "shelf": _shelf,
    "table": _table,
}


def furniture(labels: NDArray[np.int64], seed: int) -> NDArray[np.uint8]:
    """A piece of each kind [N], an index into KINDS: uint8 [N, SIDE, SIDE, SIDE, 1], 0 or 255.
    Piece i depends on (seed, i, kind) alone."""
    made, kinds = np.zeros((len(labels), SIDE, SIDE, SIDE, 1), np.uint8), list(KINDS.values())
    for number, (volume, label) in enumerate(zip(made, labels.tolist(), strict=True)):
        voxels = np.zeros((SIDE, SIDE, SIDE), bool)
        kinds[label](voxels, np.random.default_rng((seed, number)))
        volume[..., 0] = 255 * voxels
    return made


def _new(volumes: NDArray[np.uint8], known: set[bytes]) -> NDArray[np.bool_]:
    """Which volumes are neither known nor there before, [N]; all are known from then on."""
    new = np.zeros(len(volumes), bool)
    for number, volume in enumerate(volumes):
        digest = sha256(volume.data).digest()
        new[number] = digest not in known
        known.add(digest)
    return new


@lru_cache(maxsize=1)
def load_furniture() -> Splits:
    """The kinds in turn. No test volume is among the training volumes, or twice among its own."""
    kinds, known = len(KINDS), set[bytes]()

    def part(name: str, count: int, candidates: int, seed: int) -> Dataset:
        labels = np.arange(candidates, dtype=np.int64) % kinds
        volumes = furniture(labels, seed)
        new = _new(volumes, known) | (candidates == count)
        each = [np.flatnonzero(new & (labels == kind))[: count // kinds] for kind in range(kinds)]
        rows = np.stack(each, axis=1).ravel()
        return Dataset(
            name=name,
            images=volumes[rows].reshape(count, SIDE * SIDE, SIDE, 1),
            labels=labels[rows],
            classes=tuple(KINDS),
            licence=OURS,
        )

    return Splits(
        part("furniture", TRAINING, TRAINING, 0), part("furniture-test", TEST, 3 * TEST, 1)
    )


@source("furniture", files=False)
def load(path: Path | None, spec: ImageSpec, options: Options) -> Splits:
    return load_furniture()
