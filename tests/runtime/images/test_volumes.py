"""Volumes as pictures and as meshes, against what is known of a few cubes."""

import io
import time
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from runtime.errors import InputError
from runtime.images import contact_sheet, volumes
from runtime.images.layout import Layout
from runtime.images.meshes import check_volume, encode_glb, mesh_bytes, surface
from runtime.images.volumes import (
    MAX_VOLUME_SIDE,
    SIDE,
    as_picture,
    as_pictures,
    picture_of,
    picture_shape,
)


def cube(low: int, high: int, side: int = 8) -> NDArray[np.uint8]:
    volume = np.zeros((side, side, side, 1), np.uint8)
    volume[low:high, low:high, low:high] = 255
    return volume


def test_a_cube_shows_three_faces_the_top_one_brightest() -> None:
    picture = picture_of(cube(2, 6))
    assert picture.shape == (SIDE, SIDE, 1)
    rows, columns, _ = np.nonzero(picture)
    # In the middle of the picture, the light in the upper part, and nothing in the corners.
    assert abs(rows.mean() - SIDE / 2) < 2
    assert abs(columns.mean() - SIDE / 2) < 2
    upper, lower = (
        picture[rows.min() + 3 : rows.min() + 8],
        picture[rows.max() - 8 : rows.max() - 3],
    )
    assert upper[upper > 0].mean() > 1.3 * lower[lower > 0].mean()
    left, right = (half[half > 0].mean() for half in np.split(picture[SIDE // 2 + 5 :], 2, axis=1))
    assert left != pytest.approx(right, rel=0.1)


def test_a_face_has_no_holes_and_no_specks() -> None:
    whole = picture_of(np.full((8, 8, 8, 1), 255, np.uint8))[..., 0].astype(int)
    rows = [row[row > 0] for row in whole if (row > 0).any()]
    assert all(np.count_nonzero(np.abs(np.diff(row)) > 20) <= 2 for row in rows)
    for row in whole:
        shown = np.flatnonzero(row)
        assert not len(shown) or len(shown) == shown[-1] - shown[0] + 1


def test_nothing_is_black_and_what_is_half_filled_is_not_there() -> None:
    assert not picture_of(np.full((4, 4, 4, 1), 127, np.uint8)).any()
    assert picture_of(np.full((4, 4, 4, 1), 128, np.uint8)).any()


def test_images_stay_as_they_are_and_volumes_of_any_sides_become_pictures() -> None:
    image = np.zeros((5, 6, 3), np.uint8)
    assert as_picture(image) is image
    assert picture_shape((5, 6, 3)) == (5, 6, 3)
    three = np.random.default_rng(0).integers(0, 256, (3, 4, 6, 8, 1)).astype(np.uint8)
    made = as_pictures(three)
    assert made.shape == (3, *picture_shape((4, 6, 8, 1)))
    np.testing.assert_array_equal(made[1], as_picture(three[1]))
    np.testing.assert_array_equal(Layout(2).sheet(three), contact_sheet(made, 2))


def test_the_first_picture_of_a_large_volume_takes_little_more_than_its_rays() -> None:
    side = MAX_VOLUME_SIDE
    volume = np.zeros((side, side, side, 1), np.uint8)
    volume[: side // 2] = 255
    volumes._made_rays.cache_clear()  # pyright: ignore[reportPrivateUsage]
    tracemalloc.start()
    first = picture_of(volume)
    kept, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert first.any()
    assert kept < 18e6
    assert peak < 26e6


def test_threads_that_draw_their_first_volume_make_its_rays_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made, passed = [0], volumes._passed  # pyright: ignore[reportPrivateUsage]

    def counted(*given: Any) -> Any:
        made[0] += 1
        time.sleep(1e-4)  # the others come meanwhile
        return passed(*given)

    monkeypatch.setattr(volumes, "_passed", counted)
    volumes._made_rays.cache_clear()  # pyright: ignore[reportPrivateUsage]
    with ThreadPoolExecutor(4) as pool:
        pictures = list(pool.map(picture_of, [cube(2, 6)] * 4))
    assert made[0] == SIDE
    assert all(np.array_equal(picture, pictures[0]) for picture in pictures)


def _enclosed(vertices: NDArray[np.float32], faces: NDArray[np.int32]) -> float:
    """The volume inside a surface of outward triangles, by the divergence theorem."""
    a, b, c = vertices.astype(np.float64)[faces].transpose(1, 0, 2)
    return float((a * np.cross(b, c)).sum() / 6)


def test_the_surface_of_a_cube_is_twelve_triangles_around_its_volume() -> None:
    vertices, faces = surface(cube(0, 1))
    assert (len(vertices), len(faces)) == (8, 12)
    assert _enclosed(vertices, faces) == pytest.approx(1)
    vertices, faces = surface(cube(2, 6))
    assert len(faces) == 2 * 6 * 16
    assert _enclosed(vertices, faces) == pytest.approx(64)
    # x and z around the middle, y from the floor up.
    np.testing.assert_array_equal(vertices.min(axis=0), [-2, 2, -2])
    np.testing.assert_array_equal(vertices.max(axis=0), [2, 6, 2])


def test_the_front_is_towards_the_viewer_and_the_floor_below() -> None:
    volume = np.zeros((8, 8, 8, 1), np.uint8)
    volume[7, 0, 5] = 255  # the top layer, the front row, to the right
    vertices, _ = surface(volume)
    np.testing.assert_array_equal(vertices.mean(axis=0), [1.5, 7.5, 3.5])
    assert np.nonzero(picture_of(volume))[1].mean() > SIDE / 2


def test_images_are_no_meshes() -> None:
    with pytest.raises(InputError, match="format: expected one for images"):
        check_volume((8, 8, 3))


def test_without_trimesh_the_other_formats_are_named_and_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("runtime.images.meshes.find_spec", lambda name: None)
    expected = (
        r"expected any format but glb: trimesh is missing here \(pip install '\.\[volumes\]'\)"
    )
    with pytest.raises(InputError, match=expected):
        check_volume((8, 8, 8, 1))


def test_a_glb_holds_every_volume_or_says_what_is_missing() -> None:
    volumes = np.stack([cube(2, 6), cube(0, 8)])
    if find_spec("trimesh") is None:
        with pytest.raises(InputError, match=r"trimesh is missing here \(pip install"):
            encode_glb(volumes)
        return
    trimesh: Any = pytest.importorskip("trimesh")
    data = encode_glb(volumes)
    assert data == encode_glb(volumes)
    scene = trimesh.load(io.BytesIO(data), file_type="glb")
    found = sorted(mesh.volume for mesh in scene.geometry.values())
    assert found == pytest.approx([(4 / 8) ** 3, 1.0])
    assert all(mesh.is_watertight for mesh in scene.geometry.values())
    with pytest.raises(InputError, match="of volumes without a filled voxel"):
        encode_glb(np.zeros_like(volumes))


@pytest.mark.parametrize(
    ("count", "sides"),
    [(1, (2, 2, 2)), (50, (4, 4, 4)), (1, (1, 1, 64)), (3, (16, 16, 16)), (1, (32, 32, 32))],
)
def test_a_mesh_takes_no_more_than_is_held_for_it(count: int, sides: tuple[int, ...]) -> None:
    pytest.importorskip("trimesh")
    # The most faces that there can be, and no two volumes alike, which would be written once.
    every_second = np.indices(sides).sum(axis=0) % 2 * 255
    volumes = np.stack([every_second.astype(np.uint8)[..., None]] * count)
    for i, volume in enumerate(volumes):
        volume.ravel()[i % volume.size] ^= 255
    encode_glb(volumes)  # what is imported and kept the first time is not the mesh's
    tracemalloc.start()
    encode_glb(volumes)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak <= 2 * count * mesh_bytes((*sides, 1))
    assert peak >= count * mesh_bytes((*sides, 1)) // 2
