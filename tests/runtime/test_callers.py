"""What callers bring besides plain arrays and numbers works, or an error of ours says why not."""

import subprocess
import sys
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import runtime
from runtime import ArtifactError, Encode, EngineError, InputError, Interpolate, Limits, Model
from runtime.artifact.reading import find_artifact
from runtime.checks import short
from runtime.sampling.streams import Counter, Stream, normals, repeated
from tests.sized import write_sized


class OnAnotherDevice:
    """A tensor that numpy cannot read, without a length either."""

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        raise RuntimeError("call\n.cpu() first")


@pytest.fixture(scope="module")
def sized(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Model]:
    with runtime.load(write_sized(tmp_path_factory.mktemp("sized")), precision="fp32") as model:
        yield model


UNLIKE = [np.zeros((8, 8, 1), np.uint8), np.zeros((7, 8, 1), np.uint8)]
NO_ARRAYS: dict[str, Any] = {
    "of unlike sizes": UNLIKE,
    "a tensor on a GPU": OnAnotherDevice(),
    "one picture": Image.new("L", (8, 8)),
    "nothing": None,
    "a path": "a.png",
    "a generator": iter(UNLIKE),
}


@pytest.mark.parametrize("given", NO_ARRAYS.values(), ids=NO_ARRAYS)
@pytest.mark.parametrize("seed", [None, 1])
def test_what_is_no_array_of_images_is_refused(vae: Model, given: Any, seed: int | None) -> None:
    for ask in (lambda: vae.run(Encode(given, seed=seed)), lambda: vae.reconstruct(given)):
        with pytest.raises(InputError) as caught:
            ask()
        assert caught.value.field == "images"
        assert "uint8 of shape ['n', 8, 8, 1]" in caught.value.expected
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("given", NO_ARRAYS.values(), ids=NO_ARRAYS)
def test_what_is_no_array_for_a_translator_is_refused(sized: Model, given: Any) -> None:
    images = np.zeros((1, 8, 8, 3), np.uint8)
    with pytest.raises(InputError, match=r"^images: expected uint8"):
        sized.translate(given, mask=images[..., :1])
    with pytest.raises(InputError, match=r"^mask: expected uint8"):
        sized.translate(images, mask=given)


@pytest.mark.parametrize("given", NO_ARRAYS.values(), ids=NO_ARRAYS)
def test_what_is_no_array_of_latents_is_refused(vae: Model, given: Any) -> None:
    with pytest.raises(InputError, match=r"^latents: expected float32"):
        vae.decode(given)


def test_whatever_numpy_reads_is_an_array(vae: Model) -> None:
    images = vae.sample(3, seed=1)

    class Wrapped:
        def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
            return images

    given: Any = Wrapped()
    np.testing.assert_array_equal(vae.encode(given).mean, vae.encode(images).mean)
    np.testing.assert_array_equal(
        vae.encode(given, seed=2).latents, vae.encode(images, seed=2).latents
    )


@pytest.mark.parametrize("value", [1e39, -1e300, float("inf")])
def test_latents_that_float32_cannot_hold_are_refused_without_a_warning(
    vae: Model, value: float
) -> None:
    with pytest.raises(InputError, match=r"finite values of at most 1e\+06, found others in row 1"):
        vae.decode([[0.0, 0.0], [value, 0.0]])


@pytest.mark.parametrize("value", [np.float32(0.5), np.float64(0.5), np.float16(0.5)])
def test_numbers_of_numpy_are_numbers(plain: Model, value: Any) -> None:
    expected = plain.latents(3, seed=1, truncation=0.5)
    np.testing.assert_array_equal(plain.latents(3, seed=1, truncation=value), expected)
    with pytest.raises(InputError, match=r"^truncation: expected a number above 0"):
        plain.latents(3, seed=1, truncation=10**400)
    whole: Any = np.int64(1)
    one = plain.latents(3, seed=1, truncation=1)
    np.testing.assert_array_equal(plain.latents(3, seed=1, truncation=whole), one)


def test_seeds_that_are_no_list_are_refused(vae: Model) -> None:
    given: Any = 5
    with pytest.raises(InputError, match=r"^seeds: expected one for each of 2 images"):
        vae.run(Encode(vae.sample(2, seed=1), seeds=given))


def test_a_draw_from_any_number_on(vae: Model) -> None:
    posterior = vae.encode(vae.sample(2, seed=1))
    offset: Any = np.int32(3)
    np.testing.assert_array_equal(posterior.draw(7, offset).latents, posterior.draw(7, 3).latents)
    for wrong in (-1, 1.5, "3", 2**53):
        given: Any = wrong
        with pytest.raises(InputError, match=r"^offset: expected an integer from 0"):
            posterior.draw(7, given)


@pytest.mark.parametrize("count", [0, -1, 65, 1.0, True, "2", None])
def test_a_count_of_directions_is_checked(vae: Model, count: Any) -> None:
    with pytest.raises(InputError, match=r"^count: expected an integer from 1 to 64"):
        vae.directions(count)


def test_a_mixed_layer_alone_is_named(plain: Model) -> None:
    with pytest.raises(InputError, match=r"^mix_layer: expected none.*, found 3$"):
        plain.sample(1, seed=1, mix_layer=3)


def test_noise_that_is_the_same_for_all_takes_no_memory_for_each(vae: Model) -> None:
    tracemalloc.start()
    try:
        first = next(iter(vae.batches(Interpolate([0, 0], [1, 1], 2**31))))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(first) >= 1
    assert peak < 8 << 20


def test_the_same_noise_is_item_0_of_the_seed() -> None:
    drawn = normals(repeated(7, 5).slice(1, 4), Stream.FURTHER_NOISE, 6)
    one = normals(Counter(7, 0, 1), Stream.FURTHER_NOISE, 6)
    np.testing.assert_array_equal(drawn, np.repeat(one, 3, axis=0))
    assert [numbers.tolist() for numbers in repeated(7, 2).numbers()] == [[7, 7], [0, 0]]


def test_what_was_found_is_said_in_one_line() -> None:
    assert short(np.zeros((2, 2))) == "array([[0., 0.], [0., 0.]])"
    assert short("a  b\n") == r"'a  b\n'"


@pytest.mark.parametrize("name", ["x\0y", "x" * 5000])
def test_a_name_that_no_file_system_takes_is_no_artifact(name: str) -> None:
    with pytest.raises(ArtifactError, match="expected the path or the name of an artifact"):
        find_artifact(name)


def test_an_unknown_device_is_named(artifacts: Path) -> None:
    device: Any = "gpu"
    with pytest.raises(InputError, match=r"^device: .*'auto', 'cpu', 'cuda'.*found 'gpu'"):
        runtime.load(artifacts / "tiny-plain", device=device)


def test_the_cache_may_be_named_by_text(artifacts: Path, tmp_path: Path) -> None:
    cache = str(tmp_path / "cache")
    with runtime.load(artifacts / "tiny-plain", backend="onnxruntime", cache=cache) as model:
        assert model.sample(1, seed=1).shape == (1, 8, 8, 3)


def test_a_queue_has_a_size() -> None:
    none: Any = None
    with pytest.raises(InputError, match=r"^limits\.queue_images: expected an integer from 1"):
        Limits(queue_images=none)


def test_memory_that_is_missing_is_not_said_to_be_none(artifacts: Path) -> None:
    with pytest.raises(EngineError, match=r"one image takes 1 MiB of memory, and 0 MiB may"):
        runtime.load(artifacts / "tiny-plain", backend="onnxruntime", limits=Limits(memory=1))


FORK = """
import os, signal, sys, warnings
import runtime
warnings.simplefilter("ignore")  # from Python 3.12 on, of a fork beside threads
model = runtime.load(sys.argv[1], backend="onnxruntime")
for ask in (
    lambda: model.sample(1, seed=1),
    lambda: model.sample(5, seed=1),
    lambda: model.submit(runtime.Sample(1, 1)),
    lambda: next(iter(model.stream(5, seed=1))),
    lambda: model.close() or sys.exit(0),
):
    child = os.fork()
    if not child:
        signal.alarm(20)
        try:
            ask()
        except runtime.EngineError as error:
            os._exit(0 if "another process" in str(error) else 3)
        except SystemExit:
            os._exit(0)
        os._exit(4)
    assert os.waitpid(child, 0)[1] == 0
assert model.sample(5, seed=1).shape == (5, 8, 8, 3)
model.close()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no fork")
def test_a_forked_process_is_told_and_does_not_wait_for_ever(artifacts: Path) -> None:
    subprocess.run(
        [sys.executable, "-c", FORK, str(artifacts / "tiny-plain")], check=True, timeout=120
    )
