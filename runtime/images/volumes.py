"""Volumes as pictures: what stands in a grid of voxels, seen from above and from one side.

Volumes are uint8 [D, H, W, 1]: layers from the floor up, rows from the front to the back, voxels
from left to right. A voxel of at least THRESHOLD is filled.
"""

import math
import threading
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from runtime.images.pixels import UInt8Array

MAX_VOLUME_SIDE = 128
"""Voxels that a volume has a side, at most. The rays of its picture take memory by its sides: 18 MB
here, which are kept for the last four shapes, and up to 8 MB more while a picture is made."""
THRESHOLD = 128
SIDE = 96
"""Height and width of a volume's picture, in pixels."""
_AZIMUTH, _ELEVATION = np.radians(-30.0), np.radians(25.0)
_LIGHT = np.array([110, 170, 245])
"""Grey levels of a face: to the side, to the front, on top."""
_DRAWING = 1 << 20
_KEPT = 4
"""Shapes whose rays are kept."""
_FADE = 0.35
"""By so much are the farthest faces darker than the nearest."""


def is_volume(shape: Sequence[int]) -> bool:
    """Whether one result of this shape is a volume [D, H, W, 1], not an image [H, W, C]."""
    return len(shape) == 4


def picture_shape(shape: Sequence[int]) -> tuple[int, int, int]:
    """(H, W, C) of the picture of an image, or of a volume, of a shape."""
    if is_volume(shape):
        return SIDE, SIDE, 1
    height, width, channels = shape
    return height, width, channels


def shown_bytes(shape: Sequence[int]) -> int:
    """The work of showing one result of a shape, as so many bytes of an image: drawing a volume
    takes milliseconds, however small it is. (How much memory it takes is another matter: see
    MAX_VOLUME_SIDE.)"""
    return _DRAWING if is_volume(shape) else math.prod(shape)


def as_picture(made: UInt8Array) -> UInt8Array:
    """An image [H, W, C] as it is; of a volume [D, H, W, 1] its picture [SIDE, SIDE, 1]."""
    return picture_of(made) if is_volume(made.shape) else made


def as_pictures(made: UInt8Array) -> UInt8Array:
    """`as_picture` of each of several, [n, ...]."""
    if not is_volume(made.shape[1:]):
        return made
    return np.stack([picture_of(volume) for volume in made])


def picture_of(volume: UInt8Array) -> UInt8Array:
    """The voxels of a volume [D, H, W, 1] in parallel projection, grey on black: [SIDE, SIDE, 1].

    Each pixel has a ray; it shows the face by which the ray enters the first filled voxel, by its
    direction and, farther away, darker.
    """
    rays = _rays(volume.shape[:3])
    filled = np.append(volume.ravel() >= THRESHOLD, False)  # the last: outside
    hits = filled[rays.voxels]
    first = hits.argmax(axis=1)
    rows = np.flatnonzero(hits.any(axis=1))
    picture = np.zeros(SIDE * SIDE, np.uint8)
    depth = first[rows] / hits.shape[1]
    shade = _LIGHT[rays.faces[rows, first[rows]]]
    picture[rows] = np.rint(shade * (1 - _FADE * depth)).astype(np.uint8)
    return picture.reshape(SIDE, SIDE, 1)


class _Rays:
    """The voxels that the rays of all pixels pass, one after another, and the axis of the face
    through which each is entered: [SIDE * SIDE, passed] each."""

    def __init__(self, voxels: NDArray[np.int32], faces: NDArray[np.uint8]) -> None:
        self.voxels, self.faces = voxels, faces


_making = threading.Lock()


def _rays(shape: tuple[int, int, int]) -> _Rays:
    with _making:  # once, when several threads draw their first volume
        return _made_rays(shape)


@lru_cache(maxsize=_KEPT)
def _made_rays(shape: tuple[int, int, int]) -> _Rays:
    size = np.array(shape[::-1])  # x, y, z
    right = np.array([np.cos(_AZIMUTH), np.sin(_AZIMUTH), 0.0])
    level = np.array([-np.sin(_AZIMUTH), np.cos(_AZIMUTH), 0.0])
    forward = level * np.cos(_ELEVATION) - np.array([0.0, 0.0, np.sin(_ELEVATION)])
    up = np.cross(right, forward)
    half = max(float(np.abs(axis) @ size) / 2 for axis in (right, up))
    across = ((np.arange(SIDE) + 0.5) / SIDE - 0.5) * 2 * half
    passed = sum(shape) + 2
    rays = _Rays(
        np.empty((SIDE * SIDE, passed), np.int32), np.empty((SIDE * SIDE, passed), np.uint8)
    )
    # Row by row of the picture: what rays are made of takes many times what is kept of them.
    for row in range(SIDE):
        start = across[:, None] * right - across[row] * up + size / 2
        rows = slice(row * SIDE, (row + 1) * SIDE)
        rays.voxels[rows], rays.faces[rows] = _passed(start, forward, shape)
    return rays


def _passed(
    start: NDArray[np.float64], forward: NDArray[np.float64], shape: tuple[int, int, int]
) -> tuple[NDArray[np.int32], NDArray[np.uint8]]:
    """The voxels and the axes of rays in one direction from [n, 3]: [n, passed] each."""
    size = np.array(shape[::-1])
    # When each ray passes each plane between voxels, in the order of passing.
    each: list[NDArray[np.float64]] = []
    for axis in range(3):
        each.append((np.arange(shape[2 - axis] + 1) - start[:, [axis]]) / forward[axis])
    times = np.concatenate(each, axis=1)
    axes = np.repeat(np.arange(3, dtype=np.uint8), size + 1)
    order = times.argsort(axis=1)
    times = np.take_along_axis(times, order, axis=1)
    middles = (times[:, :-1] + times[:, 1:]) / 2
    cells = np.floor(start[:, None] + middles[:, :, None] * forward).astype(np.int32)
    inside = ((cells >= 0) & (cells < size)).all(axis=2)
    x, y, z = np.moveaxis(cells, 2, 0)
    voxels = np.where(inside, (z * shape[1] + y) * shape[2] + x, np.int32(np.prod(shape)))
    return voxels.astype(np.int32), axes[order[:, :-1]]
