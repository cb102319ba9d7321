"""The shipped artifacts show what they should: judged by the committed classifiers, without data.

The full figures (10,000 samples, real images beside them) are those of `python -m benchmarks
quality`; these repeat the thresholds at sizes that suit a test run. Everything is seeded, so a
figure here changes only with an artifact or a classifier.
"""

from pathlib import Path

import pytest

import runtime
from benchmarks.quality.distances import diversity
from benchmarks.quality.judge import load_classifier
from benchmarks.quality.served import by_label, sample
from benchmarks.quality.verdicts import as_asked, recognised

ARTIFACTS = Path(__file__).parents[2] / "artifacts"
REAL_FROGS = {"diversity_pixels": 76.1, "diversity_features": 5.6}
"""The same figures of the data set's test frogs, as the quality benchmark prints them."""
SHIPPED = ("mnist-vae-2d", "mnist-vae", "mnist-cgan", "cifar10-frogs-dcgan")


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
