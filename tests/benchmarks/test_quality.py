"""The quality benchmark on sets whose answers are known."""

import math
from pathlib import Path

import numpy as np
import pytest

import runtime
from benchmarks.quality import distances, quality, served, verdicts
from benchmarks.quality.judge import load_classifier
from runtime.artifact.figures import explained
from tests import tiny
from train.data import Dataset


def test_every_figure_is_explained_to_people() -> None:
    figures = explained(dict.fromkeys(quality.ROWS, 1.0))
    assert [figure.name for figure in figures] == list(quality.ROWS)
    assert all(figure.meaning and figure.unit for figure in figures)


def test_recognised_counts_confidence_and_classes() -> None:
    probabilities = np.full((4, 10), 0.01, np.float32)
    probabilities[[0, 1, 2, 3], [3, 3, 5, 0]] = [0.91, 0.89, 0.95, 0.5]
    assert verdicts.recognised(probabilities) == {"sure": 0.5, "class_share_least": 0.0}


def test_diversity_is_in_grey_levels() -> None:
    images = np.zeros((2, 4, 4, 3), np.uint8)
    images[1] = 30
    figures = distances.diversity(images, np.array([[0, 0], [3, 4]], np.float32))
    assert figures == pytest.approx({"diversity_pixels": 30, "diversity_features": 5})


def test_nearest_finds_the_copied_training_image() -> None:
    train = np.random.default_rng(0).integers(0, 256, (50, 6, 6, 1), dtype=np.uint8)
    copies = train[[11, 3]].copy()
    copies[1] ^= 1  # one grey level everywhere
    indices, median = distances.nearest(copies, train)
    assert indices.tolist() == [11, 3]
    assert median == pytest.approx(0.5)


def test_copies_are_nearer_to_what_was_seen() -> None:
    train, test = np.random.default_rng(4).integers(0, 256, (2, 60, 6, 6, 1), dtype=np.uint8)
    copies = train[:5] ^ 1
    for asked, mirrored in ((copies, False), (copies, True), (copies[:, :, ::-1], True)):
        assert distances.seen_to_unseen(asked, train, test, mirrored=mirrored) < 0.1
    assert distances.seen_to_unseen(copies[:, :, ::-1], train, test, mirrored=False) > 0.9
    assert distances.seen_to_unseen(copies, train, train, mirrored=False) == 1
    # Halfway to their common mean they are nearer to everything, not to what was seen.
    strangers = np.random.default_rng(5).integers(0, 256, (60, 6, 6, 1), dtype=np.uint8)
    smooth = (strangers // 2 + 64).astype(np.uint8)
    assert distances.seen_to_unseen(smooth, train, test, mirrored=False) == pytest.approx(
        1, abs=0.05
    )
    assert distances.nearest(smooth, train)[1] < 0.9 * distances.nearest(strangers, train)[1]


def test_sets_of_one_distribution_are_as_near_as_real_ones() -> None:
    generator = np.random.default_rng(1)
    train, test, samples = (
        generator.normal(size=(n, 8)).astype(np.float32) for n in (1500, 500, 1200)
    )
    figures = distances.set_distances(samples, train, test)
    assert figures["set_size"] == 500
    # Two draws of one floor: chance alone parts them (by 4% with this seed).
    assert figures["frechet"] == pytest.approx(figures["frechet_real"], rel=0.5)
    assert figures["coverage"] == pytest.approx(figures["coverage_real"], abs=0.05)
    shifted = distances.set_distances(samples + 1, train, test)
    assert shifted["frechet"] - figures["frechet"] == pytest.approx(8, abs=1)  # |shift|^2
    assert shifted["coverage"] < 0.9 * figures["coverage"]


def test_reconstruction_is_the_loss_of_the_served_model(tmp_path: Path) -> None:
    folder = tiny.write_artifact(tmp_path, "vae")
    images = np.random.default_rng(2).integers(0, 256, (32, 8, 8, 1), dtype=np.uint8)
    with runtime.load(folder) as model:
        figures = quality.reconstruction(model, images, seed=0)
        posterior = model.encode(images)
        decoded = model.decode(posterior.sample(0))
    kl = nats = 0.0
    for image, out, mean, log_variance in zip(
        images, decoded, posterior.mean, posterior.log_variance, strict=True
    ):
        kl += sum(
            0.5 * (m * m + math.exp(v) - 1 - v) for m, v in zip(mean, log_variance, strict=True)
        )
        for target, level in zip(image.ravel() / 255, out.ravel().tolist(), strict=True):
            p = min(max(level, 0.25), 254.75) / 255
            nats -= target * math.log(p) + (1 - target) * math.log(1 - p)
    assert figures["kl"] == pytest.approx(kl / 32, rel=1e-5)
    assert figures["test_loss_served"] == pytest.approx((kl + nats) / 32, rel=1e-5)
    difference = decoded.astype(float) - images
    assert figures["reconstruction"] == pytest.approx(math.sqrt((difference**2).mean()))


def test_a_model_measured_against_its_own_samples_is_as_good_as_real(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tiny, "SIDE", 28)
    monkeypatch.setattr(tiny, "LABELS", tuple("0123456789"))
    classifier = load_classifier("mnist")
    with runtime.load(tiny.write_artifact(tmp_path, "conditional", channels=1)) as model:
        assert served.data_set_of(model) == "mnist"

        def drawn(name: str, n: int, seed: int) -> Dataset:
            labels = runtime.Sample(n, seed).chosen_labels(model.manifest)
            assert labels is not None
            images = model.sample(n, seed=seed)
            return Dataset(name, images, labels, classifier.classes, licence="none")

        train, test = drawn("train", 900, seed=1), drawn("test", 300, seed=2)
        figures, sheet = quality.measure(
            model, classifier, train, test, n=600, seed=3, second=classifier
        )
        copies, _ = quality.measure(model, classifier, test, train, n=300, seed=2)
    assert all(isinstance(value, int | float) for value in figures.values())
    assert figures["set_size"] == 300
    # The same distribution three times: the figures differ by chance alone.
    assert figures["frechet"] == pytest.approx(figures["frechet_real"], rel=0.5)
    assert figures["coverage"] == pytest.approx(figures["coverage_real"], abs=0.1)
    for name in (
        *("sure", "as_asked", "precision", "recall", "diversity_pixels", "diversity_features"),
        *("nearest_pixels", "nearest_features", "seen_to_unseen"),
    ):
        assert figures[name] == pytest.approx(figures[f"{name}_real"], rel=0.1, abs=0.05), name
    # A second judge that is the first one says the same.
    for name in ("sure", "as_asked", "as_asked_least"):
        for suffix in ("", "_real"):
            assert figures[f"{name}_second{suffix}"] == figures[name + suffix]
    assert sheet.shape == (3 * 28, 16 * 28, 1)
    # A model that gives its training images back is found out.
    assert copies["nearest_pixels"] == 0 < copies["nearest_pixels_real"]
    assert copies["nearest_pixels_ratio"] == 0
    assert copies["seen_to_unseen"] < 0.8  # half of them lie in the half that is looked through
    assert copies["nearest_features_ratio"] == pytest.approx(0, abs=1e-6)
    printed = quality._printed("tiny@1", None, figures)
    assert "recognised as asked: 7" in printed


def test_streamed_samples_are_the_models_samples(tmp_path: Path) -> None:
    with runtime.load(tiny.write_artifact(tmp_path, "conditional")) as model:
        images = served.sample(model, 40, seed=3, offset=7, label="two")
        np.testing.assert_array_equal(images, model.sample(40, seed=3, offset=7, labels="two"))


def test_labels_that_the_classifier_does_not_know_are_named(tmp_path: Path) -> None:
    with (
        runtime.load(tiny.write_artifact(tmp_path, "conditional")) as model,
        pytest.raises(ValueError, match="labels: expected classes of mnist .*"),
    ):
        verdicts.as_asked(served.by_label(model, 1, seed=0), load_classifier("mnist"))


def test_a_model_of_another_size_has_no_data_set(tmp_path: Path) -> None:
    with (
        runtime.load(tiny.write_artifact(tmp_path, "plain")) as model,
        pytest.raises(
            ValueError, match=r"expected images of a known data set .* found \(8, 8, 3\)"
        ),
    ):
        served.data_set_of(model)


@pytest.mark.parametrize(("data", "count"), [("mnist-binarised", 0), ("letters", 1)])
def test_a_model_of_other_data_of_that_shape_is_warned_of(
    data: str,
    count: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(tiny, "SIDE", 28)
    folder = tiny.write_artifact(tmp_path, "vae", details={"data": data})
    with runtime.load(folder) as model:
        caplog.clear()
        assert served.data_set_of(model) == "mnist"
    assert (
        caplog.text.count(f"tiny-vae was trained on {data} and is judged as if on mnist") == count
    )


def test_the_class_trained_on_is_read_from_the_data_sets_name(tmp_path: Path) -> None:
    classes = load_classifier("cifar10").classes
    frogs = tiny.write_artifact(tmp_path, "plain", name="cifar10-frogs-dcgan")
    other = tiny.write_artifact(tmp_path, "plain", name="mnist-vae-2d")
    with runtime.load(frogs) as model:
        assert served.trained_on(model, classes) == "frog"
    with runtime.load(other) as model:
        assert served.trained_on(model, tuple("0123456789")) is None
