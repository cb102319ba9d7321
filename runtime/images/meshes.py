"""Volumes as glTF binary files, by trimesh."""

from importlib import import_module
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtime.errors import InputError
from runtime.images.pixels import UInt8Array, sheet_grid
from runtime.images.volumes import THRESHOLD, is_volume

BYTES_A_VOXEL = 240
"""What a volume takes as a mesh, and once more while it is made: measured of one whose voxels are
filled at random, nearly the most faces that there can be."""
_APART = 1.25
"""Of a volume's longer side, between the centres of two of them."""
# The corners of a voxel's face towards +x, +y and +z, counter-clockwise as seen from outside.
_CORNERS = np.array(
    [
        [[1, 0, 0], [1, 1, 0], [1, 1, 1], [1, 0, 1]],
        [[0, 1, 0], [0, 1, 1], [1, 1, 1], [1, 1, 0]],
        [[0, 0, 1], [1, 0, 1], [1, 1, 1], [0, 1, 1]],
    ]
)


def check_volume(shape: tuple[int, ...]) -> None:
    """InputError where results of this shape are no volumes, or trimesh is not installed."""
    if not is_volume(shape):
        raise InputError("format", "one for images: glb is for volumes", "glb")
    if find_spec("trimesh") is None:
        expected = "npy or a picture: trimesh is missing here (pip install '.[volumes]')"
        raise InputError("format", expected, "glb")


def encode_glb(volumes: UInt8Array) -> bytes:
    """Volumes [n, D, H, W, 1] as one scene, side by side in about a square, each of height 1 with y
    up: the faces of their filled voxels. InputError without trimesh."""
    check_volume(volumes.shape[1:])
    trimesh: Any = import_module("trimesh")
    scene = trimesh.Scene()
    _, columns = sheet_grid(len(volumes))
    for number, volume in enumerate(volumes):
        vertices, faces = surface(volume)
        if not len(faces):
            continue
        depth = volume.shape[0]
        row, column = divmod(number, columns)
        apart = _APART * max(volume.shape[1:3])
        vertices += np.array([column * apart, 0.0, row * apart], np.float32)
        mesh = trimesh.Trimesh(vertices / depth, faces, process=False)
        scene.add_geometry(mesh, node_name=f"{number:05d}", geom_name=f"{number:05d}")
    if not scene.geometry:
        raise InputError("format", "npy or a picture, of volumes without a filled voxel", "glb")
    return scene.export(file_type="glb")


def surface(volume: UInt8Array) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """The outside of a volume [D, H, W, 1] as triangles: vertices [v, 3] in voxels, as glTF has
    them (x to the right, y up, z to the front), around the middle of the floor; faces [f, 3]."""
    filled = np.pad(volume[..., 0] >= THRESHOLD, 1).transpose(2, 1, 0)  # x, y, z
    quads: list[NDArray[np.int64]] = []
    for axis in range(3):
        for towards in (1, -1):
            shown = filled & ~np.roll(filled, -towards, axis)
            corners = _CORNERS[axis]
            if towards < 0:  # the opposite face, turned round
                corners = corners[::-1] - np.eye(3, dtype=np.int64)[axis]
            quads.append(np.argwhere(shown)[:, None] - 1 + corners)
    # A corner as one number: sorting rows takes ten times the memory, and Python's lock.
    sides = np.array(filled.shape)
    corners = np.concatenate(quads) @ np.array([sides[1] * sides[2], sides[2], 1])
    found, numbers = np.unique(corners.ravel(), return_inverse=True)
    vertices = np.stack(np.unravel_index(found, filled.shape), axis=1)
    numbers = numbers.reshape(-1, 4)
    faces = np.concatenate([numbers[:, [0, 1, 2]], numbers[:, [0, 2, 3]]])
    _, height, width, _ = volume.shape
    x, y, z = vertices.astype(np.float32).T
    return np.stack([x - width / 2, z, height / 2 - y], axis=1), faces.astype(np.int64)
