"""Large images in tiles: the geometry, and models that decode, encode and translate in them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import runtime
from runtime import InputError, Limits, Model
from runtime.artifact.manifest import Tiling
from runtime.artifact.reading import read_artifact
from runtime.artifact.tensors import TensorSpec
from runtime.requests.tiles import cuts, joined, tile_edges, tiles_of
from tests.sized import write_sized
from tests.tiny import write_artifact

SIZES = [(64, 64), (22, 64), (90, 34), (8, 130)]
"""Beyond the axes' maximum of 64, too, and none a multiple of the tiles' distance."""


def write_tiled(folder: Path, *, exact: bool = True, **changes: Any) -> Path:
    """`write_sized`, whose graphs look at most 2 pixels around, with a manifest that says so."""
    graphs = read_artifact(write_sized(folder / "plain")).manifest.model_dump(mode="json")["graphs"]
    for graph in graphs.values():
        graph["tiling"] = Tiling(exact=exact, halo=2 if exact else 0).model_dump()
    return write_sized(folder, graphs=graphs, **changes)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory):
    folder = write_tiled(tmp_path_factory.mktemp("tiled"))
    limits = Limits(runners=2, threads=1)
    with runtime.load(folder, backend="onnxruntime", precision="fp32", limits=limits) as model:
        yield model


@pytest.fixture(scope="module")
def blending(tmp_path_factory: pytest.TempPathFactory):
    folder = write_tiled(tmp_path_factory.mktemp("blended"), exact=False)
    limits = Limits(runners=2, threads=1)
    with runtime.load(folder, backend="onnxruntime", precision="fp32", limits=limits) as model:
        yield model


def levels(found: Any, expected: Any) -> int:
    assert found.shape == expected.shape
    return int(np.abs(found.astype(int) - expected).max())


@pytest.mark.parametrize("total", [16, 18, 30, 44, 46, 94, 1002])
@pytest.mark.parametrize(("tile", "overlap"), [(16, 4), (16, 8), (22, 10)])
def test_tiles_cover_an_axis_and_overlap_enough(total: int, tile: int, overlap: int) -> None:
    cut = cuts(total, tile, overlap, 2)
    assert cut.total == total
    assert cut.starts[0] == 0
    for i, (start, following) in enumerate(zip(cut.starts, cut.starts[1:], strict=False)):
        assert start % 2 == 0
        assert start + tile - following >= overlap
        seam = cut.seams[i]
        assert following + overlap // 2 // 2 * 2 <= seam <= start + tile - overlap // 2
        assert cut.own(i)[1] == seam == cut.own(i + 1)[0]
    # One fewer would leave a gap, or too small an overlap.
    assert total <= tile or (len(cut.starts) - 1) * (tile - overlap) + overlap < total


@pytest.mark.parametrize(("factor", "divisor"), [(1, 1), (1, 2), (4, 1)])
@pytest.mark.parametrize("total", [16, 18, 30, 94])
def test_the_weights_of_all_tiles_add_up_to_one(total: int, factor: int, divisor: int) -> None:
    cut = cuts(total, 16, 4, 2)
    added = np.zeros(factor * total // divisor)
    for start, weight in zip(cut.starts, cut.weights(factor, divisor), strict=True):
        at = factor * start // divisor
        added[at : at + len(weight)] += weight
        assert weight.min() > 0
    np.testing.assert_allclose(added, 1.0, atol=2e-7)


def test_what_is_cut_is_put_together_again(model: Model, blending: Model) -> None:
    generator = np.random.default_rng(0)
    for chosen in (model, blending):
        for height, width in SIZES:
            size = (("height", height), ("width", width))
            tiles = tiles_of(chosen.manifest, "translate", size, 16)
            (tensor,) = chosen.manifest.graphs["translate"].outputs
            whole = generator.integers(0, 256, (2, *tensor.at(size)), dtype=np.uint8)
            parts = [w[tiles.box(tensor.shape, i)] for w in whole for i in range(len(tiles))]
            assert np.array_equal(joined(np.stack(parts), tensor, tiles, size), whole)


@pytest.mark.parametrize("size", SIZES[:2])
def test_a_local_decoder_gives_the_same_in_tiles(model: Model, size: tuple[int, int]) -> None:
    latents = model.latents(3, seed=1, size=size)
    whole = model.decode(latents, seed=4)
    assert levels(model.decode(latents, seed=4, tile=16), whole) <= 1
    assert whole.std() > 20
    parts = np.concatenate(list(model.batches(runtime.Decode(latents, seed=4, tile=16))))
    assert levels(parts, whole) <= 1
    # One image large enough to be whole in its tile is not cut at all.
    assert np.array_equal(model.decode(latents[:1], seed=4, tile=64), whole[:1])


def test_larger_images_than_the_axes_allow_are_cut(model: Model) -> None:
    generator = np.random.default_rng(1)
    for height, width in SIZES[2:]:
        latents = generator.standard_normal((2, 2, height // 2, width // 2), np.float32)
        made = model.decode(latents)
        assert made.shape == (2, height, width, 3)
        # Tiles of other sizes have other seams.
        assert levels(model.decode(latents, tile=16), made) <= 1
        images = generator.integers(0, 256, (2, height, width, 3), dtype=np.uint8)
        mask = generator.integers(0, 256, (1, height, width, 1), dtype=np.uint8)
        larger = model.translate(images, mask=mask)
        assert larger.shape == (2, 2 * height, 2 * width, 3)
        assert levels(model.translate(images, mask=mask, tile=32), larger) <= 1
    with pytest.raises(InputError, match="size: expected"):
        model.sample(1, seed=0, size=(90, 34))


def test_translate_and_encode_in_tiles(model: Model, blending: Model) -> None:
    generator = np.random.default_rng(2)
    images = generator.integers(0, 256, (3, 46, 64, 3), dtype=np.uint8)
    mask = generator.integers(0, 256, (3, 46, 64, 1), dtype=np.uint8)
    for chosen in (model, blending):
        # 1x1 convolutions: however tiles are put together, they agree where they overlap.
        whole = chosen.translate(images, mask=mask)
        assert levels(chosen.translate(images, mask=mask, tile=16), whole) <= 1
        posterior, cut = chosen.encode(images), chosen.encode(images, tile=16)
        np.testing.assert_allclose(cut.mean, posterior.mean, atol=1e-5)
        np.testing.assert_allclose(cut.log_variance, posterior.log_variance, atol=1e-5)
        drawn = chosen.encode(images, seed=3, tile=16)
        np.testing.assert_allclose(drawn.latents, posterior.sample(3), atol=1e-4)
        larger = np.tile(images, (1, 2, 1, 1))
        expected = chosen.decode(chosen.encode(larger).mean)
        assert levels(chosen.reconstruct(larger), expected) <= 1


def test_tiles_without_overlap_enough_are_blended(blending: Model) -> None:
    latents = blending.latents(1, seed=1, size=(64, 64))
    whole, made = blending.decode(latents), blending.decode(latents, tile=16)
    difference = np.abs(made.astype(int) - whole)
    # The zeros around tiles count by small weights, and nowhere else.
    assert 0 < difference.max() < 80
    assert np.median(difference) == 0


def test_what_does_not_fit_into_memory_is_cut(tmp_path: Path) -> None:
    folder = write_tiled(tmp_path)
    artifact = read_artifact(folder)
    room = artifact.bounds["decode"].cost(1, (("height", 60), ("width", 60))).bytes
    images = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), dtype=np.uint8)
    with runtime.load(folder, backend="onnxruntime") as model:
        latents = model.latents(5, seed=2, size=(64, 64))
        whole, posterior = model.decode(latents), model.encode(images)
    with runtime.load(folder, backend="onnxruntime", limits=Limits(memory=room)) as model:
        assert levels(model.decode(latents), whole) <= 1
        assert levels(np.concatenate(list(model.batches(runtime.Decode(latents)))), whole) <= 1
        job = runtime.Decode(latents).job(model)
        assert (job.count, model.run_rows(job)) == (5, 1)
        np.testing.assert_allclose(model.encode(images).mean, posterior.mean, atol=1e-5)
        with pytest.raises(InputError, match="tile: expected one whose images take at most"):
            model.decode(latents, tile=64)
        with pytest.raises(InputError, match="size: expected one whose images take at most"):
            model.sample(1, seed=0, size=(64, 64))
        # Not even the images themselves fit.
        with pytest.raises(InputError, match="size: expected one whose images take at most"):
            model.decode(np.zeros((1, 2, 2000, 2000), np.float32))


@pytest.mark.parametrize("tile", [15, 17, 2, 66, 0, -2, True, 16.0])
def test_tiles_that_cannot_be_are_refused(model: Model, tile: Any) -> None:
    with pytest.raises(InputError, match="tile: expected a multiple of 2 from 4 to 64, found"):
        model.decode(np.zeros((1, 2, 8, 8), np.float32), tile=tile)


def test_models_of_one_size_have_no_tiles(tmp_path: Path) -> None:
    with runtime.load(write_artifact(tmp_path, "vae"), backend="onnxruntime") as fixed:
        latents = fixed.latents(1, seed=0)
        with pytest.raises(InputError, match="tile: expected none: tiny-vae cannot decode in"):
            fixed.decode(latents, tile=8)
        with pytest.raises(InputError, match="tile: expected none: tiny-vae cannot encode in"):
            fixed.encode(fixed.decode(latents), tile=8)


def test_edges_are_multiples_of_both_axes(model: Model) -> None:
    axes = model.manifest.axes
    other = axes["width"].model_copy(update={"multiple_of": 6, "min": 12, "max": 60})
    manifest = model.manifest.model_copy(update={"axes": {**axes, "width": other}})
    assert list(tile_edges(manifest)) == list(range(12, 61, 6))


def test_axes_without_a_common_square_have_no_tiles(tmp_path: Path) -> None:
    axes = {
        "height": {"multiple_of": 2, "min": 4, "max": 8, "default": 8},
        "width": {"multiple_of": 2, "min": 12, "max": 64, "default": 12},
    }
    with runtime.load(write_sized(tmp_path, axes=axes), backend="onnxruntime") as flat:
        assert flat.decode(np.zeros((1, 2, 4, 6), np.float32)).shape == (1, 8, 12, 3)
        with pytest.raises(InputError, match="tile: expected none: no square"):
            flat.decode(np.zeros((1, 2, 4, 6), np.float32), tile=8)
        with pytest.raises(InputError, match="size: expected at most"):
            flat.decode(np.zeros((1, 2, 8, 6), np.float32))


def test_codes_are_cut_and_never_blended(blending: Model) -> None:
    shape = ("height / 2", "width / 2")
    latents = blending.manifest.latent
    assert latents is not None
    codes = TensorSpec(name="codes", role="codes", dtype="int64", shape=shape)
    encode = blending.manifest.graphs["encode"].model_copy(update={"outputs": (latents, codes)})
    graphs = {**blending.manifest.graphs, "encode": encode}
    manifest = blending.manifest.model_copy(update={"graphs": graphs})
    size = (("height", 46), ("width", 90))
    assert tiles_of(blending.manifest, "encode", size, 16).blended
    tiles = tiles_of(manifest, "encode", size, 16)
    assert not tiles.blended
    whole = np.arange(23 * 45, dtype=np.int64).reshape(1, 23, 45)
    parts = np.stack([whole[0][tiles.box(shape, i)] for i in range(len(tiles))])
    # At the edges of tiles inside the image stands what no code is.
    parts[:, 0] = np.where(parts[:, 0] < 45, parts[:, 0], -1)
    parts[:, :, 0] = np.where(parts[:, :, 0] % 45 == 0, parts[:, :, 0], -1)
    assert np.array_equal(joined(parts, codes, tiles, size), whole)
