"""The shipped artifacts show what they should: judged by the committed classifiers, without data.

The full figures (10,000 samples, real images beside them) are those of `python -m benchmarks
quality`; these repeat the thresholds at sizes that suit a test run. Everything is seeded, so a
figure here changes only with an artifact or a classifier.
"""

from pathlib import Path

import numpy as np
import pytest

import runtime
from benchmarks.quality.distances import diversity
from benchmarks.quality.judge import load_classifier
from benchmarks.quality.served import by_label, sample
from benchmarks.quality.verdicts import as_asked, recognised
from train.data.furniture import KINDS, furniture

ARTIFACTS = Path(__file__).parents[2] / "artifacts"
REAL_FROGS = {"diversity_pixels": 76.1, "diversity_features": 5.6}
"""The same figures of the data set's test frogs, as the quality benchmark prints them."""
SHIPPED = (
    "mnist-vae-2d",
    "mnist-vae",
    "mnist-cgan",
    "cifar10-frogs-dcgan",
    "shapes-prompted",
    "twemoji",
    "furniture-vae",
)
"""Those that sample."""
COLOURS = "cifar10-pix2pix"


@pytest.mark.parametrize("name", SHIPPED)
def test_samples_vary(name: str) -> None:
    """A collapsed generator repeats one picture; noise of any kind is caught by the others."""
    with runtime.load(ARTIFACTS / name) as model:
        images = sample(model, 200, seed=0)
    assert images.std() >= 20
    assert images.std(axis=0).mean() >= 20


def test_conditional_digits_are_the_ones_asked_for() -> None:
    classifier = load_classifier("mnist")
    with runtime.load(ARTIFACTS / "mnist-cgan") as model:
        figures = as_asked(by_label(model, 200, seed=0), classifier)
    assert figures["as_asked"] >= 0.95
    # One class in 200 samples: a standard error of 1.5 points at 0.95.
    assert figures["as_asked_least"] >= 0.90


def test_vae_digits_are_legible_and_of_every_class() -> None:
    classifier = load_classifier("mnist")
    with runtime.load(ARTIFACTS / "mnist-vae") as model:
        probabilities, _ = classifier(sample(model, 2000, seed=0))
    figures = recognised(probabilities)
    assert figures["sure"] >= 0.75
    assert figures["class_share_least"] >= 0.03


def test_manifold_holds_all_ten_digits() -> None:
    classifier = load_classifier("mnist")
    with runtime.load(ARTIFACTS / "mnist-vae-2d") as model:
        probabilities, _ = classifier(model.manifold(30))
    sure = probabilities[probabilities.max(axis=1) >= 0.9]
    assert set(sure.argmax(axis=1).tolist()) == set(range(10))


def test_frogs_differ_from_each_other_about_as_much_as_real_ones() -> None:
    classifier = load_classifier("cifar10")
    with runtime.load(ARTIFACTS / "cifar10-frogs-dcgan") as model:
        images = sample(model, 500, seed=0)
    probabilities, features = classifier(images)
    figures = diversity(images, features)
    assert figures["diversity_pixels"] >= 0.85 * REAL_FROGS["diversity_pixels"]
    assert figures["diversity_features"] >= 0.85 * REAL_FROGS["diversity_features"]
    # Of ten classes; real test frogs are classified as frogs in 0.88 of cases.
    assert (probabilities.argmax(axis=1) == classifier.classes.index("frog")).mean() >= 0.8


@pytest.mark.parametrize("size", ["small", "large"])
@pytest.mark.parametrize(("shade", "levels"), [("dark", (80, 150)), ("bright", (220, 255))])
@pytest.mark.parametrize(
    ("place", "row", "column"),
    [("at the top left", 8, 8), ("in the centre", 15.5, 15.5), ("at the bottom right", 23, 23)],
)
def test_shapes_are_as_the_prompt_says(
    size: str, shade: str, levels: tuple[int, int], place: str, row: float, column: float
) -> None:
    with runtime.load(ARTIFACTS / "shapes-prompted") as model:
        images = model.sample(50, seed=0, prompt=f"a {size} {shade} square {place}")[..., 0]
    brightest = images.max(axis=(1, 2))
    assert levels[0] <= brightest.min() <= brightest.max() <= levels[1]
    shapes = images > brightest[:, None, None] / 2
    areas = shapes.sum(axis=(1, 2))
    assert ((areas > 100) == (size == "large")).all()
    rows, columns = np.indices((32, 32))
    assert np.abs((shapes * rows).sum(axis=(1, 2)) / areas - row).max() < 3
    assert np.abs((shapes * columns).sum(axis=(1, 2)) / areas - column).max() < 3


def test_furniture_is_most_like_the_kind_asked_for() -> None:
    kinds = np.repeat(np.arange(len(KINDS)), 40)
    real = furniture(kinds, seed=1).reshape(len(kinds), -1) > 127
    with runtime.load(ARTIFACTS / "furniture-vae") as model:
        for truncation, share in ((None, 0.7), (0.7, 0.9)):
            made = model.sample(len(kinds), seed=0, labels=kinds, truncation=truncation)
            filled = made.reshape(len(kinds), -1) > 127
            shared = filled.astype(np.float32) @ real.T.astype(np.float32)
            either = filled.sum(axis=1)[:, None] + real.sum(axis=1) - shared
            nearest = kinds[(shared / either).argmax(axis=1)]
            assert (nearest == kinds).mean() >= share


def test_grey_pictures_are_coloured_and_keep_their_light() -> None:
    with runtime.load(ARTIFACTS / "cifar10-frogs-dcgan") as model:
        frogs = model.sample(100, seed=0)
    light = np.array([0.299, 0.587, 0.114])
    grey = np.rint(frogs @ light).astype(np.uint8)[..., None]
    with runtime.load(ARTIFACTS / COLOURS, precision="fp32") as model:
        made = model.translate(grey)
        apart = np.concatenate([model.translate(grey[i : i + 7]) for i in range(0, 100, 7)])
    assert np.abs(made.astype(int) - apart).max() <= 1
    assert np.abs(made @ light - grey[..., 0]).mean() < 4
    colourful, real = (np.ptp(images.astype(int), axis=-1).mean() for images in (made, frogs))
    assert 0.5 * real < colourful < 1.5 * real
