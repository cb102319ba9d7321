"""Samples beside few labels: which images are known, and accuracies whose value is known."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

import runtime
from benchmarks.quality import augmentation
from benchmarks.quality.classifier import RECIPES
from export import export_run
from tests.train.conftest import narrow, random_splits
from train.data import Dataset
from train.data.few import few
from train.errors import DataError
from train.loop import train
from train.recipes import RECIPES as TRAINED


def shades(levels: tuple[int, ...], count: int, name: str = "shades") -> Dataset:
    """Class i is a picture of the grey level i."""
    labels = np.arange(len(levels)).repeat(count)
    images = np.asarray(levels, np.uint8)[labels][:, None, None, None]
    return Dataset(
        name=name,
        images=np.broadcast_to(images, (len(labels), 8, 8, 1)).copy(),
        labels=labels,
        classes=tuple(map(str, range(len(levels)))),
        licence="made here",
    )


def test_few_images_are_as_many_of_each_class_and_grow() -> None:
    data = random_splits(TRAINED["mnist_cgan"]().image, 3, 90).train
    found = {count: few(data, count, seed=1) for count in (2, 5)}
    for count, images in found.items():
        assert np.bincount(images.labels).tolist() == [count] * 3
        assert images.name == f"random-{count}-a-class"
    rows = {count: {image.tobytes() for image in images.images} for count, images in found.items()}
    assert rows[2] < rows[5]
    assert few(data, 5, seed=1).checksum == found[5].checksum != few(data, 5, seed=2).checksum
    with pytest.raises(DataError, match="expected 80 images of class 0 or more, found"):
        few(data, 80, seed=0)


def test_samples_are_half_of_each_batch() -> None:
    known, samples = shades((0, 255), 3), shades((128,), 50)
    torch.manual_seed(0)
    (images, labels), *_ = augmentation.batches(known, samples, 2)
    assert images.shape == (augmentation.BATCH, 1, 8, 8)
    grey = images[:, 0, 0, 0].abs() < 0.1
    assert grey.tolist() == [False] * 32 + [True] * 32
    assert torch.equal(labels[:32] == 1, images[:32, 0, 0, 0] == 1)
    assert not any(
        (images[:, 0, 0, 0].abs() < 0.1).any() for images, _ in augmentation.batches(known, None, 2)
    )


def test_samples_teach_what_labelled_images_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    """Class 1 is half white and half black in the test images, white alone in the labelled ones:
    without samples of the black half a classifier must get half of that class wrong."""
    monkeypatch.setattr(augmentation, "SEEDS", 2)
    monkeypatch.setattr(augmentation, "WIDTHS", (4, 8))
    monkeypatch.setattr(augmentation, "BATCH", 16)
    train = shades((110, 255), 5)
    both = shades((110, 255), 5)
    both.images[[5, 6, 7]] = 0
    test = shades((110, 255), 4)
    test.images[[4, 5]] = 0
    figures = augmentation.measure(train, test, both, 5, steps=60, shared=False)
    assert figures["accuracy_none_5"] == figures["accuracy_classic_5"] == pytest.approx(0.75)
    assert figures["accuracy_generated_5"] == figures["accuracy_both_5"] == 1
    assert figures["gain_5"] == pytest.approx(0.25)
    assert figures["gain_5_deviation"] == figures["accuracy_both_5_deviation"] == 0


def test_one_seed_gives_one_classifier_and_another_a_second() -> None:
    data = random_splits(TRAINED["mnist_cgan"]().image, 3, 12).train
    settings = {"classic": True, "steps": 2}
    made = [
        augmentation.trained(RECIPES["mnist"], data, None, seed=seed, **settings)
        for seed in (1, 1, 2)
    ]
    weights = [network.classify.weight for network in made]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_a_generator_of_few_labels_is_measured_with_these(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = TRAINED["mnist_cgan_10"]().image
    whole = random_splits(spec, 10, 400)
    chosen = few(whole.train, 10, seed=0)
    object.__setattr__(chosen, "name", "mnist-10-a-class")
    recipe = narrow(TRAINED["mnist_cgan_10"]())
    train(recipe, type(whole)(chosen), tmp_path / "run", device="cpu")

    def named(classes: tuple[str, ...]) -> Dataset:
        images, labels = whole.train.images, whole.train.labels
        return Dataset("mnist", images, labels, classes, licence="")

    known = named(tuple("0123456789"))
    monkeypatch.setattr(augmentation, "load_data", lambda *_: (known, known))
    monkeypatch.setattr(augmentation, "SEEDS", 2)
    monkeypatch.setattr(augmentation, "SAMPLES", 40)
    artifact = export_run(tmp_path / "run", out=tmp_path, precisions=())
    with runtime.load(artifact, backend="onnxruntime") as model:
        assert augmentation.own_count(model) == 10
    arguments = [str(artifact), "--data", str(tmp_path), "--steps", "1", "--json"]
    with pytest.raises(SystemExit):  # the labels have other names than the digits'
        augmentation.main([*arguments, str(tmp_path / "figures.json")])
    assert "expected a conditional model of MNIST, found mnist-cgan-10@1" in capsys.readouterr().err
    same = named(chosen.classes)
    monkeypatch.setattr(augmentation, "load_data", lambda *_: (same, same))
    augmentation.main([*arguments, str(tmp_path / "figures.json")])
    assert "whose training knew the same 10 labels a class; 2 seeds" in capsys.readouterr().out
    figures = json.loads((tmp_path / "figures.json").read_text())["figures"]
    assert {name.split("_")[-1] for name in figures if "deviation" not in name} == {"10"}
