"""Interpolation and arithmetic of latents, where what must come out is known."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import runtime
from benchmarks.quality import arithmetic, interpolation
from export import export_run
from tests import tiny
from tests.train.conftest import random_splits, tiny_vae
from train.loop import train
from train.recipes import Recipe


def trained(recipe: Recipe, out: Path) -> Path:
    train(recipe, random_splits(recipe.image), out, device="cpu")
    return out


def bar(width: int, lean: int = 0) -> np.ndarray:
    """A stroke 20 rows high: [28, 28, 1]."""
    image = np.zeros((28, 28, 1), np.uint8)
    for row in range(4, 24):
        left = 12 - lean * (row - 14)
        image[row, left : left + width] = 255
    return image


def test_stroke_width_and_slant_are_in_pixels() -> None:
    widths = arithmetic.stroke_width(np.stack([bar(1), bar(2), bar(4)]))
    # The strokes' own ends count as edges too: w h / (w + h), with h = 20.
    assert widths == pytest.approx([20 / 21, 40 / 22, 80 / 24], rel=0.03)
    slants = arithmetic.slant(np.stack([bar(2), bar(2, 1), bar(2, -1), bar(3, 1)]))
    assert slants == pytest.approx([0, 1, -1, 1])
    blank = np.zeros((1, 28, 28, 1), np.uint8)
    assert arithmetic.stroke_width(blank) == arithmetic.slant(blank) == 0


class Strokes:
    """A generator whose space is linear: the first latent is the width, the next three vote for
    the class, which stands in a corner of the picture."""

    def decode(self, latents: np.ndarray) -> np.ndarray:
        widths = np.clip(np.rint(4 + 1.5 * latents[:, 0]), 1, 9).astype(int)
        images = np.stack([bar(width) for width in widths])
        images[:, 0, 0, 0] = latents[:, 1:].argmax(axis=1)
        return images


class Reader:
    """Reads the class in the corner."""

    classes = ("0", "1", "2")

    def __call__(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return np.eye(3)[images[:, 0, 0, 0]], images.reshape(len(images), -1)


def test_arithmetic_works_in_a_linear_space_and_chance_does_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(arithmetic, "TRIALS", 30)
    generator = np.random.default_rng(0)
    model: Any = Strokes()
    reader: Any = Reader()
    # Classes far apart, so that what is left of a's vote never outweighs b's.
    latents = generator.normal(size=(3000, 4)).astype(np.float32)
    latents[:, 1:] += 20 * np.eye(3)[generator.integers(0, 3, 3000)]
    images = model.decode(latents)
    shown = arithmetic.legible_class(images, reader)
    kinds = arithmetic.sorted_by("stroke", latents, images, shown, reader.classes)
    assert kinds.high[0][:, 0].min() > kinds.low[0][:, 0].max()
    assert {len(kind) for kind in kinds.low} <= {len(every) // 10 for every in kinds.all}
    figures = arithmetic.measure(model, reader, "stroke", kinds, seed=1)
    assert figures["stroke_class"] == figures["stroke_class_control"] == 1
    # High - low is four deviations, from two below the median; chance alone moves by less than one.
    assert figures["stroke_class_and_high"] > 0.9
    assert figures["stroke_class_and_high_control"] < 0.1


def test_kinds_of_encoded_images_are_the_posteriors_means(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arithmetic, "BATCH", 3)
    images = np.random.default_rng(0).integers(0, 256, (7, 8, 8, 1), dtype=np.uint8)
    run = trained(replace(tiny_vae(), steps=1), tmp_path / "run")
    with runtime.load(export_run(run, out=tmp_path, precisions=())) as model:
        np.testing.assert_allclose(
            arithmetic.encoded(model, images), model.encode(images).mean, atol=1e-5
        )


def test_attribute_vectors_need_an_encoder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(arithmetic, "load_mnist", lambda _: random_splits(tiny_vae().image))
    artifact = tiny.write_artifact(tmp_path, "plain")
    with pytest.raises(SystemExit):
        arithmetic.main([str(artifact), "--data", str(tmp_path)])
    assert "--data: expected a model with an encoder, found tiny-plain" in capsys.readouterr().err


def test_a_result_is_as_long_as_a_latent() -> None:
    draws = np.random.default_rng(2).normal(size=(500, 3, arithmetic.EXEMPLARS, 16))
    made = arithmetic.result(draws.astype(np.float32))
    expected = draws[:, 0].mean(1) - draws[:, 1].mean(1) + draws[:, 2].mean(1)
    np.testing.assert_allclose(made, expected, atol=1e-6)
    assert (made**2).sum(axis=1).mean() == pytest.approx(16, rel=0.05)


def test_too_few_legible_samples_are_named() -> None:
    images = np.stack([bar(2)] * 20)
    reader: Any = Reader()
    shown = arithmetic.legible_class(images, reader)
    with pytest.raises(ValueError, match="at least 30 legible samples of 0, found 20 of 20"):
        arithmetic.sorted_by("slant", np.zeros((20, 4), np.float32), images, shown, reader.classes)


def test_the_largest_step_tells_a_jump_from_an_even_path() -> None:
    fade = np.linspace(0, 240, 13).astype(np.uint8)[:, None, None, None]
    even = np.broadcast_to(fade, (13, 4, 4, 1))
    jump = np.where(np.arange(13)[:, None, None, None] < 5, 0, 240) * np.ones((13, 4, 4, 1))
    assert interpolation.largest_step(np.stack([even] * 3)) == pytest.approx(1 / 12)
    assert interpolation.largest_step(np.stack([jump] * 3).astype(np.uint8)) == pytest.approx(1)


def test_legible_is_sure_or_of_the_one_class() -> None:
    images = np.zeros((3, 28, 28, 1), np.uint8)
    images[1:, 0, 0, 0] = 2
    reader: Any = Reader()
    assert interpolation.legible(images, reader, None) == 1
    assert interpolation.legible(images, reader, "2") == pytest.approx(2 / 3)


def test_paths_join_neighbouring_samples(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tiny, "SIDE", 28)
    monkeypatch.setattr(interpolation, "PATHS", 4)
    folder = tiny.write_artifact(tmp_path, "plain", channels=1, name="digits")
    with interpolation.served(str(folder)) as model:
        walks = interpolation.paths(model, "slerp", 3, seed=5)
        samples = model.sample(6, seed=5)
    assert walks.shape == (3, interpolation.STEPS, 28, 28, 1)
    np.testing.assert_array_equal(walks[:, 0], samples[::2])
    np.testing.assert_array_equal(walks[:, -1], samples[1::2])
    interpolation.main([str(folder), "--out", str(tmp_path / "paths.png")])
    assert "legible_middle_lerp" in capsys.readouterr().out
    assert (tmp_path / "paths.png").is_file()
