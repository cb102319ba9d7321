"""`benchmarks quality` of any artifact against any folder of pictures."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

import runtime
from benchmarks.quality import folder, own_judge, quality
from benchmarks.quality.classifier import data_set_in
from tests import sized, tiny
from train.data import Dataset, load
from train.errors import DataError


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LATENTSERVE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(own_judge, "_STEPS", 40)


def write_pictures(path: Path, images: NDArray[np.uint8]) -> None:
    path.mkdir(parents=True)
    for i, image in enumerate(images):
        Image.fromarray(image.squeeze()).save(path / f"{i:04}.png")


def dataset(images: NDArray[np.uint8], classes: int = 1) -> Dataset:
    labels = np.arange(len(images)) % classes
    return Dataset("drawn", images, labels, tuple(map(str, range(classes))), licence="none")


def noise(*shape: int) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def test_turns_of_squares_and_of_others() -> None:
    square = dataset(noise(3, 4, 4, 3))
    turned = own_judge.turned(square)
    assert turned.images.shape == (12, 4, 4, 3)
    assert turned.labels.tolist() == [0] * 3 + [1] * 3 + [2] * 3 + [3] * 3
    for quarter in range(4):
        expected = np.rot90(square.images[1], quarter)
        np.testing.assert_array_equal(turned.images[3 * quarter + 1], expected)
    wide = dataset(noise(2, 4, 6, 1))
    turned = own_judge.turned(wide)
    assert turned.images.shape == (8, 4, 6, 1)
    np.testing.assert_array_equal(turned.images[2], wide.images[0, :, ::-1])
    np.testing.assert_array_equal(turned.images[7], wide.images[1, ::-1, ::-1])
    assert turned.classes != own_judge.turned(square).classes


def test_classes_are_learned_where_there_are_enough_of_each() -> None:
    images = noise(60, 4, 4, 1)
    assert own_judge.teaches_classes(dataset(images, 2))
    assert not own_judge.teaches_classes(dataset(images, 3))
    assert not own_judge.teaches_classes(dataset(images))


def test_a_judge_learns_and_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own_judge, "_STEPS", 150)
    digits = load("digits", None, runtime.images.ImageSpec(height=8, width=8, channels=1))
    assert digits.test is not None
    judge = own_judge.judge_of(digits.train, digits.test)
    assert judge.classes == digits.train.classes
    assert judge.record["test"]["accuracy"] > 0.8  # 0.1 by guessing
    assert judge(digits.test.images)[1].shape == (len(digits.test.images), 64)
    (kept,) = (tmp_path / "cache" / "judges").glob("*.onnx")

    with monkeypatch.context() as patch:
        patch.setattr(own_judge, "train_on", lambda *_, **__: pytest.fail("trained again"))
        assert own_judge.judge_of(digits.train, digits.test).sha256 == judge.sha256
    # Another lesson is another judge; a damaged one is trained again, to the same weights.
    monkeypatch.setattr(own_judge, "_STEPS", 20)
    assert own_judge.judge_of(digits.test, digits.train).sha256 != judge.sha256
    monkeypatch.setattr(own_judge, "_STEPS", 150)
    kept.write_bytes(b"damaged")
    assert own_judge.judge_of(digits.train, digits.test).sha256 == judge.sha256


def test_a_cache_that_cannot_be_written_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("LATENTSERVE_CACHE", str(tmp_path / "file"))
    judge = own_judge.judge_of(dataset(noise(60, 8, 8, 1)), dataset(noise(60, 8, 8, 1)))
    assert judge.classes in own_judge.TURNS


def test_thumbnails_are_means_of_blocks() -> None:
    images = noise(2, 64, 48, 3)
    small = folder.thumbnails(images)
    assert small.shape == (2, 32, 24, 3)
    assert small[1, 3, 5, 2] == images[1, 6:8, 10:12, 2].mean().round()
    np.testing.assert_array_equal(folder.thumbnails(images[:, :32, :32]), images[:, :32, :32])


def test_pictures_are_parted_into_sets_that_do_not_meet() -> None:
    images = np.arange(200, dtype=np.uint8)[:, None, None, None]
    parts = folder.parted(dataset(images, 2), n=1000)
    assert parts.size == 66
    taught, held = (part.images.ravel().tolist() for part in (parts.taught, parts.held))
    assert len(held) == 132
    assert sorted(taught + held) == list(range(200))
    np.testing.assert_array_equal(parts.held.labels, parts.held.images.ravel() % 2)
    assert folder.parted(dataset(images), n=50).size == 50
    for data, n in ((images[:149], 1000), (images, 49)):
        with pytest.raises(DataError, match="at least 150 pictures and --n 50, found"):
            folder.parted(dataset(data), n)


def test_a_model_is_as_near_to_its_own_images_as_they_are_to_each_other(tmp_path: Path) -> None:
    with runtime.load(tiny.write_artifact(tmp_path, "vae")) as model:
        pictures = folder.parted(dataset(model.sample(900, seed=5)), 10_000)
        figures, sheet, judge = folder.measure(model, pictures, by_name=False)
    assert figures["n"] == 300
    assert sheet.shape == (4 * 8, 16 * 8, 1)  # an encoder: reconstructions, too
    for name in ("density", "coverage", "precision", "recall"):
        assert figures[name] == pytest.approx(figures[f"{name}_real"], abs=0.1)
    assert figures["frechet"] < 3 * figures["frechet_real"]
    assert figures["nearest_pixels"] == pytest.approx(figures["nearest_pixels_real"], rel=0.3)
    # An encoder of random weights rebuilds other images.
    assert figures["reconstruction"] > 20
    assert figures["frechet_reconstructed"] > 3 * figures["frechet_real"]
    text = folder.printed("tiny@1", Path("mine"), judge, figures)
    assert "300 images a set; 600 pictures are compared with, and 300 others taught" in text
    assert "300 images a set are few" in text

    with runtime.load(tiny.write_artifact(tmp_path, "vae", seed=1, name="other")) as model:
        others, _, _ = folder.measure(model, pictures, by_name=False)
    assert others["frechet"] > 10 * figures["frechet"]
    assert others["recall"] < 0.5 * figures["recall"]


def test_class_folders_named_as_labels(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other folders are left out, and each sample has the label of a picture."""
    monkeypatch.setattr(own_judge, "_STEPS", 150)
    with runtime.load(tiny.write_artifact(tmp_path, "conditional")) as model:
        for name, n in (("one", 150), ("two", 50)):
            write_pictures(tmp_path / "own" / name, model.sample(n, seed=2, labels=name))
        write_pictures(tmp_path / "own" / "dogs", noise(2, 8, 8, 3))
        found = folder.judged(model, tmp_path / "own")
    assert "left out classes that are no labels of the artifact: dogs" in caplog.text
    assert found.figures["as_asked"] == pytest.approx(found.figures["as_asked_real"], abs=0.15)
    assert found.figures["as_asked_real"] > 0.8  # 0.5 by guessing
    # Samples of all three labels, or of as many of each, would be further away.
    assert found.figures["frechet"] < 3 * found.figures["frechet_real"]
    assert "recognised as the label asked for" in found.text


def test_pictures_beside_class_folders_count(tmp_path: Path) -> None:
    with runtime.load(tiny.write_artifact(tmp_path, "plain")) as model:
        write_pictures(tmp_path / "own" / "few", noise(2, 8, 8, 3))
        Image.fromarray(noise(8, 8, 3)).save(tmp_path / "own" / "loose.png")
        data, by_name = folder.pictures_of(model.manifest, tmp_path / "own")
    assert (len(data.images), data.classes, by_name) == (3, ("few", "image"), False)


def test_no_folder_is_named_as_a_label(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_pictures(tmp_path / "own" / "cats", noise(150, 8, 8, 3))
    with runtime.load(tiny.write_artifact(tmp_path, "conditional")) as model:
        found = folder.judged(model, tmp_path / "own")
    assert "its labels are drawn evenly" in caplog.text
    assert "as_asked" not in found.figures
    assert found.figures["coverage"] < found.figures["coverage_real"]


def test_what_samples_nothing_is_judged_by_its_reconstructions(tmp_path: Path) -> None:
    write_pictures(tmp_path / "own", noise(150, 8, 12, 3))
    with runtime.load(sized.write_sized(tmp_path, prior="none")) as model:
        found = folder.judged(model, tmp_path / "own")
    assert "frechet" not in found.figures
    assert found.figures["frechet_reconstructed"] > found.figures["frechet_real"]
    assert re.search(r"^ +reconstructed +± +real +±$", found.text, re.MULTILINE)


def test_what_cannot_be_judged_says_why(tmp_path: Path) -> None:
    artifact = sized.write_sized(tmp_path)
    graphs = json.loads((artifact / "manifest.json").read_text())["graphs"]
    tiny.rewrite_manifest(artifact, graphs={"translate": graphs["translate"]})
    with (
        runtime.load(artifact) as model,
        pytest.raises(DataError, match="expected an artifact that samples .* answers translate"),
    ):
        folder.judged(model, tmp_path / "nothing")


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    artifact = tiny.write_artifact(tmp_path / "artifacts", "plain")
    own = tmp_path / "own"
    with runtime.load(artifact) as model:
        write_pictures(own, model.sample(150, seed=1))
    before = sorted(own.iterdir())
    out, figures = tmp_path / "sheet.png", tmp_path / "figures.json"
    words = [str(artifact), "--data", str(own), "--out", str(out), "--json", str(figures)]
    quality.main(words)
    assert sorted(own.iterdir()) == before
    with Image.open(out) as sheet:
        assert sheet.size == (16 * 8 * 12, 2 * 8 * 12)
    record = json.loads(figures.read_text())
    assert record["figures"]["n"] == 50
    assert record["subject"]["artifact"] == "tiny-plain@1"
    assert record["subject"]["data"]["pictures"].startswith("sha256:")
    assert "50 images a set are few" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        quality.main([str(artifact), "--data", str(tmp_path / "absent")])
    assert "expected a folder or a zip of images, found nothing" in capsys.readouterr().err


def test_known_data_sets_are_found_by_their_files(tmp_path: Path) -> None:
    assert data_set_in(tmp_path) is None
    (tmp_path / "t10k-labels-idx1-ubyte.gz").touch()
    assert data_set_in(tmp_path) == "mnist"
    ten = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
    for part in ("train", "test"):
        for name in ten:
            write_pictures(tmp_path / "ten" / part / name, noise(1, 4, 4, 3))
    assert data_set_in(tmp_path / "ten") == "cifar10"
    (tmp_path / "ten" / "test" / "frog").rename(tmp_path / "ten" / "test" / "toad")
    assert data_set_in(tmp_path / "ten") is None
