"""Every backend, precision and bucket on this GPU gives the reference's images."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from runtime import Model, Sample
from runtime.artifact.golden import FLOAT_TOLERANCE, GOLDEN
from runtime.artifact.reading import read_artifact, read_npz
from runtime.engines.nvidia import devices
from tests.gpu.conftest import BUCKETS, Combination, assert_near

# The first test of a combination waits for its plans.
pytestmark = [pytest.mark.xdist_group("gpu"), pytest.mark.timeout(900)]


def test_it_runs_on_the_gpu(model: Model, combination: Combination) -> None:
    count = len(devices.gpus())
    assert f"on {count} GPU" in model.engine
    assert devices.gpus()[0].name in model.engine
    assert combination.precision in model.engine
    assert model.max_batch == max(BUCKETS)


def test_golden_images_are_reproduced(model: Model, combination: Combination) -> None:
    golden = read_npz(read_artifact(combination.folder).files[GOLDEN], GOLDEN)
    images = model.decode(golden["decode.latents"], golden.get("decode.labels"))
    assert_near(images, golden["decode.images"], combination.precision)


def test_samples_are_the_references(
    model: Model, reference: Model, combination: Combination
) -> None:
    expected = reference.sample(1000, seed=1)
    assert_near(model.sample(1000, seed=1), expected, combination.precision)
    narrow = reference.sample(64, seed=2, truncation=0.5)
    assert_near(model.sample(64, seed=2, truncation=0.5), narrow, combination.precision)


@pytest.mark.parametrize("size", [1, 3, 16, 64, 65, 257])
def test_an_image_does_not_depend_on_how_many_are_made_with_it(
    model: Model, reference: Model, combination: Combination, size: int
) -> None:
    images = model.sample(size, seed=3)
    assert_near(images, reference.sample(size, seed=3), combination.precision)
    # Other buckets are other kernels: as near as two backends, not equal.
    assert_near(images, model.sample(257, seed=3)[:size], combination.precision)
    alone = model.sample(1, seed=3, offset=size - 1)
    assert_near(alone, images[-1:], combination.precision)


@pytest.mark.parametrize("batch", BUCKETS)
def test_equal_rows_give_equal_images(model: Model, batch: int) -> None:
    # NVIDIA/TensorRT#4813: they did not, without an error.
    latents = np.repeat(model.latents(1, seed=5), batch, axis=0)
    labels = None if model.manifest.labels is None else 1
    images = model.decode(latents, labels)
    assert np.abs(images.astype(np.int16) - images[:1]).max() <= 1


def test_latents_decode_to_what_sampling_gives(model: Model, combination: Combination) -> None:
    latents, labels = model.latents(70, seed=6), Sample(70, 6).chosen_labels(model.manifest)
    assert_near(model.decode(latents, labels), model.sample(70, seed=6), combination.precision)


def test_latents_are_the_references_to_the_last_bit(model: Model, reference: Model) -> None:
    np.testing.assert_array_equal(model.latents(100, seed=7), reference.latents(100, seed=7))


def test_several_threads_at_once(model: Model, combination: Combination) -> None:
    sizes = [1, 3, 65, 16, 64, 5, 130, 2] * 4
    offsets = np.cumsum([0, *sizes])
    whole = model.sample(int(offsets[-1]), seed=8)

    def sample(index: int) -> None:
        start, size = int(offsets[index]), sizes[index]
        images = model.sample(size, seed=8, offset=start)
        assert_near(images, whole[start : start + size], combination.precision)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(sample, range(len(sizes))))


def test_streams_are_samples_in_parts(model: Model, combination: Combination) -> None:
    batches = list(model.stream(300, seed=9))
    assert [len(batch) for batch in batches] == [64, 64, 64, 64, 44]
    assert_near(np.concatenate(batches), model.sample(300, seed=9), combination.precision)


def test_labels_choose_the_class(model: Model, reference: Model, combination: Combination) -> None:
    names = model.manifest.labels
    if names is None:
        pytest.skip("this artifact has no classes")
    labels = [names[index % len(names)] for index in range(65)]
    images = model.sample(65, seed=10, labels=labels)
    assert_near(images, reference.sample(65, seed=10, labels=labels), combination.precision)
    others = model.sample(65, seed=10, labels=[*labels[1:], labels[0]])
    assert np.abs(images.astype(np.int16) - others).mean() > 1


@pytest.mark.parametrize("size", [1, 3, 65, 257])
def test_posteriors_are_the_references(model: Model, reference: Model, size: int) -> None:
    if not model.manifest.graphs.get("encode"):
        pytest.skip("this artifact has no encoder")
    images = reference.sample(size, seed=11)
    found, expected = model.encode(images), reference.encode(images)
    for name in ("mean", "log_variance"):
        difference = np.abs(getattr(found, name) - getattr(expected, name))
        assert difference.max() <= FLOAT_TOLERANCE, name
