"""Functions for other pipelines: what they make of a row depends on that row alone."""

import io
import multiprocessing
import pickle
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from torch.utils.data import BatchSampler, DataLoader, Dataset

import runtime
from runtime import InputError, bulk
from runtime.bulk.encoder import seed_of
from tests.sized import write_sized
from tests.tiny import write_artifact

ENGINE: dict[str, Any] = {"backend": "onnxruntime", "precision": "fp32"}
COUNT = 50


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("artifacts")


@pytest.fixture(scope="module")
def conditional(folder: Path) -> bulk.Sample:
    return bulk.Sample(write_artifact(folder, "conditional"), seed=7, **ENGINE)


@pytest.fixture(scope="module")
def vae(folder: Path) -> Path:
    return write_artifact(folder, "vae")


def assert_close(found: NDArray[Any], expected: NDArray[Any]) -> None:
    """Within the one grey level by which an engine may round otherwise in another batch."""
    assert found.shape == expected.shape
    assert found.dtype == expected.dtype == np.uint8
    assert np.abs(found.astype(int) - expected).max() <= 1


def png(image: NDArray[np.uint8]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image.squeeze()).save(buffer, "PNG")
    return buffer.getvalue()


def test_images_and_classes_are_those_of_the_model(conditional: bulk.Sample) -> None:
    made = conditional({"index": np.arange(3, 3 + COUNT), "note": ["kept"] * COUNT})
    model, request = conditional.model, runtime.Sample(COUNT, 7, 3)
    assert_close(made["image"], model.sample(COUNT, seed=7, offset=3))
    np.testing.assert_array_equal(made["label"], request.chosen_labels(model.manifest))
    assert made["note"] == ["kept"] * COUNT
    assert made["index"].tolist() == list(range(3, 3 + COUNT))


def test_order_and_batches_do_not_matter(conditional: bulk.Sample) -> None:
    numbers = np.random.default_rng(0).permutation(COUNT)
    whole = conditional({"index": np.arange(COUNT)})
    parts = [conditional({"index": part}) for part in np.array_split(numbers, 7)]
    assert_close(np.concatenate([part["image"] for part in parts]), whole["image"][numbers])
    labels = np.concatenate([part["label"] for part in parts])
    np.testing.assert_array_equal(labels, whole["label"][numbers])
    again = conditional({"index": [4, 9, 4]})["image"]
    np.testing.assert_array_equal(again[0], again[2])
    assert_close(again, whole["image"][[4, 9, 4]])


def test_given_classes(conditional: bulk.Sample) -> None:
    names = conditional.model.manifest.labels
    assert names is not None
    numbers = np.array([8, 2, 3])
    made = conditional({"index": numbers, "label": np.array([names[1], names[0], names[2]])})
    for row, (number, label) in enumerate(zip(numbers.tolist(), (1, 0, 2), strict=True)):
        alone = conditional.model.sample(1, seed=7, offset=number, labels=label)
        assert_close(made["image"][row : row + 1], alone)
    assert made["label"].tolist() == [names[1], names[0], names[2]]


def test_only_the_arguments_are_pickled(conditional: bulk.Sample) -> None:
    before = pickle.dumps(bulk.Sample(conditional.artifact, seed=7, **ENGINE))
    conditional({"index": [0]})
    assert pickle.dumps(conditional) == before
    assert len(before) < 2000
    assert pickle.loads(before) == conditional  # noqa: S301 - our own
    assert pickle.loads(before).model is conditional.model  # noqa: S301


def test_two_processes(conditional: bulk.Sample) -> None:
    whole = conditional({"index": np.arange(COUNT)})["image"]
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(2, mp_context=context) as pool:
        batches = [{"index": part} for part in np.array_split(np.arange(COUNT), 4)]
        made = [each["image"] for each in pool.map(conditional, batches)]
        assert_close(np.concatenate(made), whole)
        with pytest.raises(InputError, match="index: expected a column 'index'") as raised:
            pool.submit(conditional, {"number": [1]}).result()
    assert raised.value.field == "index"


class Images(Dataset[Any]):
    """A batch of numbers -> images, as docs/bulk.md shows it."""

    def __init__(self, sample: bulk.Sample) -> None:
        self.sample = sample

    def __getitem__(self, indices: list[int]) -> Any:
        return self.sample({"index": indices})


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_workers_that_are_forked_from_a_process_with_the_model(conditional: bulk.Sample) -> None:
    whole = conditional({"index": np.arange(COUNT)})["image"]
    loader = DataLoader(
        Images(conditional),
        batch_size=None,
        sampler=BatchSampler(range(COUNT), 16, drop_last=False),
        num_workers=2,
        multiprocessing_context="fork",
        timeout=60,
    )
    batches = list(loader)
    assert [len(batch["image"]) for batch in batches] == [16, 16, 16, 2]
    assert_close(np.concatenate([batch["image"].numpy() for batch in batches]), whole)


def test_encode_and_decode_again(vae: Path) -> None:
    encode, decode = bulk.Encode(vae, **ENGINE), bulk.Decode(vae, **ENGINE)
    images = encode.model.sample(COUNT, seed=1)
    encoded = encode({"image": images, "key": [f"a/{i}" for i in range(COUNT)]})
    assert sorted(encoded) == ["key", "log_variance", "mean"]
    posterior = encode.model.encode(images)
    np.testing.assert_allclose(encoded["mean"], posterior.mean, atol=1e-4)
    np.testing.assert_allclose(encoded["log_variance"], posterior.log_variance, atol=1e-4)
    decoded = decode(encoded)
    assert sorted(decoded) == ["image", "key", "log_variance"]
    assert_close(decoded["image"], encode.model.decode(posterior.mean))


@pytest.mark.parametrize("named", ["key", "index"])
def test_draws_depend_on_the_row_alone(vae: Path, named: str) -> None:
    encode = bulk.Encode(vae, seed=3, **ENGINE)
    images, rows = encode.model.sample(COUNT, seed=1), np.random.default_rng(0).permutation(COUNT)
    names = [f"a/{i}" if named == "key" else i for i in range(COUNT)]
    whole = encode({"image": images, named: names})
    seeds = [seed_of(3, str(name)) for name in names]
    drawn = encode.model.run(runtime.Encode(images, seeds=seeds))
    assert isinstance(drawn, runtime.PosteriorDraw)
    np.testing.assert_allclose(whole["latents"], drawn.latents, atol=1e-4)
    for part in np.array_split(rows, 3):
        made = encode({"image": images[part], named: [names[i] for i in part]})
        np.testing.assert_allclose(made["latents"], whole["latents"][part], atol=1e-4)
        np.testing.assert_allclose(made["log_density"], whole["log_density"][part], atol=1e-3)


def test_files_of_pictures_are_opened(vae: Path) -> None:
    encode = bulk.Encode(vae, **ENGINE)
    images = encode.model.sample(8, seed=1)
    made = encode({"image": [png(image) for image in images]})
    np.testing.assert_allclose(made["mean"], encode.model.encode(images).mean, atol=1e-4)


@pytest.fixture(scope="module")
def sized(folder: Path) -> Path:
    return write_sized(folder)


def test_pictures_of_any_size_are_brought_to_one(sized: Path) -> None:
    rng = np.random.default_rng(0)
    files = [png(rng.integers(0, 256, (side, 30, 3), dtype=np.uint8)) for side in (20, 40, 33)]
    made = bulk.Encode(sized, size=(16, 24), **ENGINE)({"image": files})
    assert made["mean"].shape == (3, 2, 8, 12)


def test_the_noise_of_a_row_is_that_of_its_index(sized: Path) -> None:
    decode = bulk.Decode(sized, seed=5, **ENGINE)
    latents = decode.model.latents(20, seed=2)
    whole = decode({"latents": latents, "index": np.arange(20)})["image"]
    assert_close(whole, decode.model.decode(latents, seed=5))
    rows = np.array([7, 3, 4, 19])
    made = decode({"latents": latents[rows], "index": rows})
    assert sorted(made) == ["image", "index"]
    assert_close(made["image"], whole[rows])
    with pytest.raises(InputError, match="index: expected a column 'index'"):
        decode({"latents": latents})


def test_translate_with_masks(sized: Path) -> None:
    translate = bulk.Translate(sized, **ENGINE)
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (5, 6, 10, 3), dtype=np.uint8)
    masks = rng.integers(0, 2, (5, 6, 10, 1), dtype=np.uint8) * 255
    expected = translate.model.translate(images, mask=masks)
    made = translate({"image": images, "mask": masks, "key": list("abcde")})
    assert sorted(made) == ["image", "key"]
    assert_close(made["image"], expected)
    files = {"image": [*map(png, images)], "mask": [*map(png, masks)]}
    assert_close(translate(files)["image"], expected)


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        ({}, r"index: expected a column 'index' in the batch, found \[\]"),
        ({"index": []}, "index: expected at least one row, found none"),
        ({"index": [0.5]}, r"index: expected integers, one a row, found float64 of shape \[1\]"),
        ({"index": [0, -1]}, r"index: expected integers in \[0, .*found -1 in row 1"),
        ({"index": [2**53]}, r"index: expected integers in \[0, .*found 9007199254740992 in row 0"),
        ({"index": 3}, "index: expected a column, with a value a row, found 3"),
        ({"index": None}, "index: expected a column, with a value a row, found None"),
        ({"index": [[1], [1, 2]]}, "index: expected integers, one a row, found no array"),
        ({"index": [1], "label": ["none of them"]}, "labels.*expected one of"),
        ({"index": [1, 2], "label": ["two"]}, r"label: expected one for each of 2 rows.*\[1\]"),
        ({"index": [1, 2], "label": "two"}, r"label: expected one for each of 2 rows.*\[\]"),
    ],
)
def test_what_a_batch_lacks_is_said(
    conditional: bulk.Sample, batch: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        conditional(batch)


def test_columns_that_are_none_are_named(vae: Path, sized: Path) -> None:
    encode, decode = bulk.Encode(vae, seed=3, **ENGINE), bulk.Decode(vae, **ENGINE)
    images = np.zeros((2, 8, 8, 1), np.uint8)
    with pytest.raises(InputError, match="image: expected images .* or the bytes of picture"):
        encode({"image": [images[0], images[0, :4]], "index": [0, 1]})
    with pytest.raises(InputError, match="key: expected one for each of 2 rows"):
        encode({"image": images, "key": ["a"]})
    with pytest.raises(InputError, match="latents: expected numbers of shape"):
        decode({"latents": [[0.0, 1.0], [0.0]]})
    with pytest.raises(InputError, match="latents: expected float32 .* found complex128"):
        decode({"latents": [[0.0, 1.0j]]})
    translate = bulk.Translate(sized, **ENGINE)
    with pytest.raises(InputError, match="images: expected uint8"):
        translate({"image": images[0, 0], "mask": images[0, 0]})
    with pytest.raises(InputError, match="mask: expected one for each of 2 rows"):
        translate({"image": np.zeros((2, 8, 8, 3), np.uint8), "mask": images[:1]})


def test_functions_are_named_where_they_are_public() -> None:
    functions: list[Callable[..., Any]] = [getattr(bulk, name) for name in bulk.__all__]
    assert [function.__name__ for function in functions] == sorted(bulk.__all__)
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = bulk.no_such_name
