"""Volumes as glTF binary files, by trimesh."""

import math
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtime.errors import InputError
from runtime.images.pixels import UInt8Array, sheet_grid
from runtime.images.volumes import THRESHOLD, is_volume

_BYTES_A_CORNER = 216
"""Of the grid between the voxels, in the worst case, a checkerboard: three faces a corner."""
_BYTES_A_MESH = 12 << 10
"""What trimesh has of a mesh beside its arrays."""
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
        expected = "any format but glb: trimesh is missing here (pip install '.[volumes]')"
        raise InputError("format", expected, "glb")


def mesh_bytes(shape: tuple[int, ...]) -> int:
    """What a volume takes as a mesh, at most; it is there twice while the file is written, as the
    arrays of trimesh and as those of glTF."""
    return _BYTES_A_MESH + _BYTES_A_CORNER * math.prod(side + 1 for side in shape[:3])


def encode_glb(volumes: UInt8Array) -> bytes:
    """Volumes [n, D, H, W, 1] as one scene, side by side in about a square, each of height 1 with y
    up: the faces of their filled voxels. InputError without trimesh."""
    check_volume(volumes.shape[1:])
    trimesh: Any = import_module("trimesh")
    scene = trimesh.Scene()
    _, columns = sheet_grid(len(volumes))
    for number, volume in enumerate(volumes):
        mesh = _mesh(trimesh, volume, *divmod(number, columns))
        if mesh is not None:
            scene.add_geometry(mesh, node_name=f"{number:05d}", geom_name=f"{number:05d}")
    if not scene.geometry:
        raise InputError("format", "any format but glb, of volumes without a filled voxel", "glb")
    return scene.export(file_type="glb")


def _mesh(trimesh: Any, volume: UInt8Array, row: int, column: int) -> Any:
    """A volume in its row and column of the scene; None where no voxel is filled."""
    vertices, faces = surface(volume)
    if not len(faces):
        return None
    apart = _APART * max(volume.shape[1:3])
    vertices += np.array([column * apart, 0.0, row * apart], np.float32)
    return trimesh.Trimesh(vertices / volume.shape[0], faces, process=False)


def surface(volume: UInt8Array) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """The outside of a volume [D, H, W, 1] as triangles: vertices [v, 3] in voxels, as glTF has
    them (x to the right, y up, z to the front), around the middle of the floor; faces [f, 3]."""
    filled = np.pad(volume[..., 0] >= THRESHOLD, 1).transpose(2, 1, 0)  # x, y, z
    # A corner is one number, its place in the grid of all corners: one takes 4 bytes, not 24.
    strides = np.array([filled.shape[1] * filled.shape[2], filled.shape[2], 1])
    quads: list[NDArray[np.int32]] = []
    for axis in range(3):
        for towards in (1, -1):
            shown = np.flatnonzero(filled & ~np.roll(filled, -towards, axis)).astype(np.int32)
            corners = _CORNERS[axis]
            if towards < 0:  # the opposite face, turned round
                corners = corners[::-1] - np.eye(3, dtype=np.int64)[axis]
            quads.append(shown[:, None] + ((corners - 1) @ strides).astype(np.int32))
    corners = np.concatenate(quads)
    del quads
    used = np.zeros(filled.size, np.bool_)
    used[corners] = True
    number = np.cumsum(used, dtype=np.int32) - 1
    # Two triangles a face.
    faces = np.concatenate([number[corners[:, [0, 1, 2]]], number[corners[:, [0, 2, 3]]]])
    _, height, width, _ = volume.shape
    places = np.unravel_index(np.flatnonzero(used), filled.shape)
    x, y, z = (place.astype(np.float32) for place in places)
    return np.stack([x - width / 2, z, height / 2 - y], axis=1), faces
