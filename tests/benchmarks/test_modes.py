"""Modes of Stacked MNIST: read by the frozen classifier, colour by colour."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import runtime
from benchmarks.quality import modes
from benchmarks.quality.judge import load_classifier
from benchmarks.quality.served import served
from tests import tiny
from tests.train.conftest import random_splits, tiny_gan
from train.loop import train
from train.networks.dcgan import DCGANParams
from train.objectives import Adversarial


def test_the_mode_is_the_digits_of_red_green_and_blue(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(modes, "CHUNK", 3)
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (7, 28, 28, 3), dtype=np.uint8)
    classifier = load_classifier("mnist")
    found, sure = modes.modes_of(images, classifier)
    expected, doubts = np.zeros(7, np.int64), np.zeros(7, bool)
    for place, channel in ((100, 0), (10, 1), (1, 2)):
        probabilities, _ = classifier(images[..., channel : channel + 1])
        expected += place * probabilities.argmax(axis=1)
        doubts |= probabilities.max(axis=1) < modes.SURE
    assert found.tolist() == expected.tolist()
    assert sure == pytest.approx(1 - doubts.mean())


def test_one_picture_again_and_again_is_one_mode() -> None:
    images = np.zeros((50, 28, 28, 3), np.uint8)
    figures = modes.measure(images, load_classifier("mnist"))
    assert figures["modes"] == 1
    assert figures["kl"] == pytest.approx(np.log(1000))


def test_a_run_is_measured_by_its_export(tmp_path: Path) -> None:
    network = DCGANParams(latent=4, height=8, width=8, stages=1, generator_width=2)
    recipe = replace(
        tiny_gan(), steps=1, objective=Adversarial(replace(network, discriminator_width=2))
    )
    run = tmp_path / "run"
    train(recipe, random_splits(recipe.image), run, device="cpu")
    with served(str(run)) as model:
        assert model.manifest.name == "tiny-gan"
        assert model.sample(2, seed=0).shape == (2, 8, 8, 3)
    artifact = tiny.write_artifact(tmp_path, "plain")
    with served(str(artifact)) as model, runtime.load(artifact) as same:
        # Of another engine, or in another batch: one grey level.
        assert np.abs(model.sample(3, seed=1).astype(int) - same.sample(3, seed=1)).max() <= 1
