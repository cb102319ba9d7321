"""Artifacts of any size: named axes, noise inputs, a truncation input, translate, bounds."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import runtime
from runtime import ArtifactError, InputError, Limits, Model
from runtime.artifact.reading import read_artifact
from runtime.requests import answered, requests
from runtime.requests.inputs import noise_streams
from runtime.sampling.streams import Counter, normals
from tests.sized import write_sized
from tests.tiny import write_artifact

SIZES = [None, (4, 4), (16, 10), (64, 64)]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory):
    folder = write_sized(tmp_path_factory.mktemp("sized"))
    limits = Limits(runners=2, threads=1)
    with runtime.load(folder, backend="onnxruntime", precision="fp32", limits=limits) as model:
        yield model


@pytest.mark.parametrize("size", SIZES)
def test_an_image_is_the_same_alone_and_in_a_batch(
    model: Model, size: tuple[int, int] | None
) -> None:
    images = model.sample(7, seed=5, size=size)
    assert images.shape == (7, *(size or (8, 12)), 3)
    alone = np.concatenate([model.sample(1, seed=5, offset=i, size=size) for i in range(7)])
    assert np.abs(images.astype(int) - alone).max() <= 1
    assert images.std() > 20


def test_noise_inputs_have_streams_of_their_own(model: Model) -> None:
    assert noise_streams(model.manifest.graphs, "decode") == {"coarse": 16, "fine": 17}
    job = runtime.Sample(3, seed=9, offset=2, size=(4, 6)).job(model)
    rows = job.rows(1, 3)
    counter = Counter(9, 3, 2)
    assert np.array_equal(rows["coarse"], normals(counter, 16, 6).reshape(2, 1, 2, 3))
    assert np.array_equal(rows["fine"], normals(counter, 17, 24).reshape(2, 1, 4, 6))
    assert np.array_equal(rows["latents"], normals(counter, 0, 12).reshape(2, 2, 2, 3))


def test_truncation_goes_to_the_graph_that_takes_it(model: Model) -> None:
    job = runtime.Sample(2, seed=1, truncation=0.5).job(model)
    rows, plain = job.rows(0, 2), runtime.Sample(2, seed=1).job(model).rows(0, 2)
    assert np.asarray(rows["truncation"]).tolist() == [0.5, 0.5]
    assert np.asarray(plain["truncation"]).tolist() == [1.0, 1.0]
    assert np.array_equal(rows["latents"], plain["latents"])
    assert not np.array_equal(model.sample(2, seed=1, truncation=0.5), model.sample(2, seed=1))


def test_decode_takes_the_size_from_the_latents(model: Model) -> None:
    size = (16, 10)
    latents = model.latents(4, seed=3, size=size)
    assert latents.shape == (4, 2, 8, 5)
    images = model.decode(latents, seed=3)
    assert np.abs(images.astype(int) - model.sample(4, seed=3, size=size)).max() <= 1
    assert np.array_equal(model.decode(latents, seed=3, size=size), images)
    with pytest.raises(InputError, match="height 16, that of the latents"):
        model.decode(latents, size=(8, 10))


@pytest.mark.parametrize(
    ("size", "found"),
    [((5, 8), "height 5"), ((8, 66), "width 66"), ((2, 8), "height 2"), ((8,), "of 1"), (8, "8")],
)
def test_sizes_that_the_artifact_does_not_take_are_refused(
    model: Model, size: object, found: str
) -> None:
    with pytest.raises(InputError, match="size") as refused:
        model.sample(1, seed=0, size=size)  # pyright: ignore[reportArgumentType]
    assert found in refused.value.found
    assert "from 4 to 64, a multiple of 2" in refused.value.expected


def test_a_model_of_one_size_accepts_that_alone(tmp_path: Path) -> None:
    with runtime.load(write_artifact(tmp_path), backend="onnxruntime") as fixed:
        assert np.array_equal(fixed.sample(1, seed=0, size=(8, 8)), fixed.sample(1, seed=0))
        with pytest.raises(InputError, match=r"size: expected \[height, width\], \[8, 8\]"):
            fixed.sample(1, seed=0, size=(16, 16))


def test_requests_of_several_sizes_at_once(model: Model) -> None:
    sizes = [(4, 4), (8, 12), (16, 10)] * 4
    futures = [model.submit(runtime.Sample(5, seed=i, size=s)) for i, s in enumerate(sizes)]
    for i, (size, future) in enumerate(zip(sizes, futures, strict=True)):
        expected = model.sample(5, seed=i, size=size)
        assert np.abs(future.result().astype(int) - expected).max() <= 1


def test_encode_and_reconstruct_at_any_size(model: Model) -> None:
    images = model.sample(5, seed=2, size=(10, 6))
    posterior = model.encode(images)
    assert posterior.mean.shape == (5, 2, 5, 3)
    rebuilt = model.reconstruct(images)
    assert np.abs(rebuilt.astype(int) - model.decode(posterior.mean)).max() <= 1
    parts = np.concatenate(list(model.batches(runtime.Reconstruct(images))))
    assert np.abs(parts.astype(int) - rebuilt).max() <= 1
    with pytest.raises(InputError, match="images: expected uint8 of shape"):
        model.encode(np.zeros((1, 5, 6, 3), np.uint8))


def test_translate_doubles_images_and_reads_the_mask(model: Model) -> None:
    images = model.sample(5, seed=4, size=(6, 8))
    mask = np.zeros((5, 6, 8, 1), np.uint8)
    mask[2:] = 255
    made = model.translate(images, mask=mask)
    assert made.shape == (5, 12, 16, 3)
    alone = np.concatenate(
        [model.translate(images[i : i + 1], mask=mask[i : i + 1]) for i in range(5)]
    )
    assert np.abs(made.astype(int) - alone).max() <= 1
    same = model.translate(images, mask=mask[:1])
    assert np.array_equal(same[:2], made[:2])
    assert not np.array_equal(same[2:], made[2:])
    with pytest.raises(InputError, match="mask: expected uint8 of shape"):
        model.translate(images)
    with pytest.raises(InputError, match="mask: expected uint8 of shape"):
        model.translate(images, mask=mask[:2])


def test_images_of_any_size_are_translated_with_reflections_beside_them(model: Model) -> None:
    images = np.random.default_rng(0).integers(0, 256, (2, 7, 3, 3), np.uint8)
    mask = np.zeros((1, 7, 3), np.uint8)
    mask[:, 2:4] = 255
    made = model.translate(images, mask=mask)
    assert made.shape == (2, 14, 6, 3)
    wider = [(0, 0), (0, 1), (0, 1)]
    padded = np.pad(images, [*wider, (0, 0)], mode="reflect")
    expected = model.translate(padded, mask=np.pad(mask, wider, mode="reflect"))
    assert np.array_equal(made, expected[:, :14, :6])
    parts = list(model.batches(runtime.Translate(images, mask)))
    assert np.array_equal(np.concatenate(parts), made)
    smallest = model.translate(images[:, :1, :2], mask=mask[:, :1, :2])
    assert smallest.shape == (2, 2, 4, 3)
    large = model.translate(np.zeros((1, 67, 5, 3), np.uint8), mask=np.zeros((1, 67, 5), np.uint8))
    assert large.shape == (1, 134, 10, 3)  # in tiles
    with pytest.raises(InputError, match=r"images: expected uint8 of shape .* found float64"):
        model.translate(np.zeros((1, 7, 3, 3)), mask=mask)
    with pytest.raises(InputError, match=r"\[2, 7, 3, 1\], or one .* found .* \[1, 8, 4\]"):
        model.translate(images, mask=np.zeros((1, 8, 4), np.uint8))


def test_noise_of_a_translator_follows_the_offset(model: Model) -> None:
    images = np.zeros((3, 8, 8, 3), np.uint8)
    assert runtime.Translate(images, images[..., :1], offset=2).job(model).count == 3
    with pytest.raises(InputError, match="offset"):
        runtime.Translate(images, images[..., :1], offset=-1).job(model)


def test_requests_follow_from_the_graphs(model: Model, tmp_path: Path) -> None:
    assert set(answered(model.manifest)) == set(requests()) - {"manifold"}
    plain = read_artifact(write_artifact(tmp_path, "vae")).manifest
    assert set(answered(plain)) == set(requests()) - {"translate"}


def test_without_a_prior_latents_are_decoded_and_never_sampled(tmp_path: Path) -> None:
    with runtime.load(write_sized(tmp_path, prior="none"), backend="onnxruntime") as model:
        with pytest.raises(InputError, match="another model makes: decode them"):
            model.sample(1, seed=0)
        assert model.decode(np.zeros((1, 2, 4, 6), np.float32)).shape == (1, 8, 12, 3)


def test_a_row_holds_its_inputs_and_outputs(model: Model, tmp_path: Path) -> None:
    bounds = read_artifact(write_sized(tmp_path)).bounds["decode"]
    for size in ((4, 4), (16, 10)):
        job = runtime.Sample(3, seed=1, size=size).job(model)
        inputs = [np.asarray(values) for values in job.rows(0, 3).values()]
        held = sum(array.nbytes for array in inputs) + model.sample(3, seed=1, size=size).nbytes
        assert 3 * bounds.row_bytes(job.size) == held


def test_memory_bounds_the_rows_of_a_run(tmp_path: Path) -> None:
    folder = write_sized(tmp_path)
    bounds = read_artifact(folder).bounds["decode"]
    size = (("height", 64), ("width", 64))
    each = bounds.cost(2, size).bytes - bounds.cost(1, size).bytes
    assert bounds.cost(5, size).bytes == bounds.cost(1, size).bytes + 4 * each
    limits = Limits(runners=1, memory=bounds.cost(3, size).bytes)
    with runtime.load(folder, backend="onnxruntime", limits=limits) as model:
        assert [len(part) for part in model.stream(7, seed=1, size=(64, 64))] == [3, 3, 1]
        assert [len(part) for part in model.stream(16, seed=1, size=(4, 4))] == [16]
        large = runtime.Sample(7, 1, size=(64, 64)).job(model)
        assert (model.run_rows(large), model.window(large)) == (3, 9)
        assert model.run_rows(runtime.Sample(7, 1, size=(4, 4)).job(model)) == model.max_batch
    limits = Limits(runners=1, memory=bounds.cost(1, size).bytes - 1)
    with runtime.load(folder, backend="onnxruntime", limits=limits) as model:
        assert model.sample(1, seed=1, size=(32, 32)).shape == (1, 32, 32, 3)
        with pytest.raises(InputError, match="size: expected"):
            model.sample(1, seed=1, size=(64, 64))
    with pytest.raises(runtime.EngineError, match="memory"):
        runtime.load(folder, backend="onnxruntime", limits=Limits(memory=100))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"axes": {}}, "axis 'height' is not under axes"),
        ({"format_version": 1}, "export it again"),
        ({"prior": "gaussian_mixture"}, "prior.npz"),
    ],
)
def test_manifests_that_do_not_agree_are_refused(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ArtifactError, match=message):
        read_artifact(write_sized(tmp_path, **changes))


def test_a_graph_whose_outputs_do_not_follow_the_axes_is_refused(tmp_path: Path) -> None:
    graphs = read_artifact(write_sized(tmp_path)).manifest.model_dump(mode="json")["graphs"]
    graphs["translate"]["outputs"][0]["shape"] = ["height", "width", 3]
    with pytest.raises(ArtifactError, match="'larger': expected"):
        read_artifact(write_sized(tmp_path / "other", graphs=graphs))
