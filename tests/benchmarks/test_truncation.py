"""The truncation curve: samples nearer to the middle of the prior are more alike."""

from pathlib import Path

import pytest
from PIL import Image

import runtime
from benchmarks.quality import truncation
from benchmarks.quality.judge import load_classifier
from benchmarks.quality.truncation import Point
from tests import tiny


def test_narrow_truncation_costs_coverage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiny, "SIDE", 28)
    monkeypatch.setattr(tiny, "LABELS", tuple("0123456789"))
    monkeypatch.setattr(truncation, "TRUNCATIONS", (0.05, 5.0))
    classifier = load_classifier("mnist")
    with runtime.load(tiny.write_artifact(tmp_path, "conditional", channels=1)) as model:
        _, real = classifier(model.sample(300, seed=1))
        narrow, wide, whole = truncation.measure(model, classifier, real, n=300, seed=2)
    assert [narrow.name, wide.name, whole.name] == ["0.05", "5", "none"]
    # Hardly anything lies beyond five standard deviations.
    assert wide.frechet == pytest.approx(whole.frechet, rel=0.05)
    assert wide.coverage == pytest.approx(whole.coverage, abs=0.02)
    assert narrow.frechet > 2 * whole.frechet
    assert narrow.coverage < 0.5 * whole.coverage


POINTS = [Point(0.5, 9.0, 1.2, 0.3), Point(None, 4.0, 0.8, 0.6)]


def test_figures_carry_their_truncation() -> None:
    assert truncation.figures_of(POINTS) == {
        "frechet_truncated_0.5": 9.0,
        "density_truncated_0.5": 1.2,
        "coverage_truncated_0.5": 0.3,
    }


def test_the_curve_is_drawn(tmp_path: Path) -> None:
    picture = tmp_path / "results" / "truncation.png"
    truncation.draw(picture, "a model", POINTS, Point(None, 0.5, 1.0, 0.95))
    with Image.open(picture) as drawn:
        assert drawn.size == (950, 420)
