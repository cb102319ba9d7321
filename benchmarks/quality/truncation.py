"""What truncation trades: quality against coverage, by Fréchet distance, density and coverage.

Brock, Donahue and Simonyan (2019), arXiv:1809.11096, section 3.1: latents drawn nearer to the
middle of the prior give samples that are better and more alike. Here they are the truncated normal
that is served (`sample(truncation=t)`: each value within [-t, t]), measured on the export through
`runtime`, in the features of the frozen classifier.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import runtime
from benchmarks.plot import OTHERS, OURS, pyplot
from benchmarks.quality.classifier import load_data, load_or_train
from benchmarks.quality.distances import real_images
from benchmarks.quality.judge import Classifier, subject
from benchmarks.quality.served import data_set_of, parser, sample, served, trained_on
from benchmarks.report import table, write_json
from benchmarks.results import record
from train import metrics

logger = logging.getLogger(__name__)

TRUNCATIONS = (0.25, 0.5, 0.75, 1.0, 1.5, 2.0)
"""Bounds of the latents, in standard deviations; the whole prior is measured beside them."""

Features = NDArray[np.float32]
"""[n, D]"""


@dataclass(frozen=True)
class Point:
    """Samples at one truncation, against as many training images."""

    truncation: float | None
    """None: the whole prior."""
    frechet: float
    density: float
    coverage: float

    @property
    def name(self) -> str:
        return "none" if self.truncation is None else f"{self.truncation:g}"


def measure(
    model: runtime.Model, classifier: Classifier, real: Features, *, n: int, seed: int
) -> list[Point]:
    """A point for each of TRUNCATIONS and for the whole prior, from the narrowest on; labels, where
    the model takes them, are drawn evenly."""
    points = []
    for truncation in (*TRUNCATIONS, None):
        logger.info("sampling %d images at truncation %s", n, truncation)
        images = sample(model, n, seed, truncation=truncation)
        points.append(_point(truncation, classifier(images)[1], real))
    return points


def _point(truncation: float | None, features: Features, real: Features) -> Point:
    density, coverage = metrics.density_coverage(features, real)
    return Point(truncation, metrics.frechet_distance(features, real), density, coverage)


def figures_of(points: Sequence[Point]) -> dict[str, float]:
    """The figures of truncated samples by name; those of the whole prior are `quality`'s."""
    return {
        f"{figure}_truncated_{point.name}": getattr(point, figure)
        for point in points
        if point.truncation is not None
        for figure in ("frechet", "density", "coverage")
    }


def draw(path: Path, title: str, points: Sequence[Point], real: Point) -> None:
    """Density against coverage, each point with its truncation, and the Fréchet distance by it."""
    plt = pyplot()
    figure, axes = plt.subplots(1, 2, figsize=(9.5, 4.2), layout="constrained")
    figure.suptitle(title, fontsize=11)
    left, right = axes[0], axes[1]
    _plot(left, [p.coverage for p in points], [p.density for p in points])
    for point in points:
        left.annotate(
            point.name,
            (point.coverage, point.density),
            xytext=(6, 5),
            textcoords="offset points",
            fontsize=8,
        )
    left.plot([real.coverage], [real.density], "s", color=OTHERS, label="real test images")
    left.set_xlabel("coverage")
    left.set_ylabel("density")
    left.legend(fontsize=8)
    places = list(range(len(points)))
    _plot(right, places, [p.frechet for p in points])
    right.axhline(real.frechet, color=OTHERS, ls="--", label="real test images")
    right.set_xticks(places, [p.name for p in points])
    right.set_ylim(bottom=0)
    right.set_xlabel("truncation (standard deviations)")
    right.set_ylabel("Fréchet distance")
    right.legend(fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, format="png", dpi=100)
    plt.close(figure)


def _plot(panel: Any, x: Sequence[float], y: Sequence[float]) -> None:
    panel.plot(x, y, "o-", color=OURS, lw=1.2, ms=5)
    panel.spines[["top", "right"]].set_visible(False)


def main(arguments: Sequence[str]) -> None:
    """`python -m benchmarks truncation ARTIFACT_OR_RUN --data PATH`"""
    options = parser("truncation", __doc__, data="the real data set", n=10_000)
    options.add_argument("--out", type=Path, help="draw the curve there, PNG")
    chosen = options.parse_args(arguments)
    with served(chosen.subject) as model:
        name = data_set_of(model)
        classifier = load_or_train(name, chosen.data)
        train, test = load_data(name, chosen.data)
        only = trained_on(model, classifier.classes)
        train_images, test_images = real_images(train, only), real_images(test, only)
        if (most := min(len(train_images), len(test_images))) < chosen.n:
            options.error(f"--n: expected at most the {most} test images, found {chosen.n}")
        _, real = classifier(train_images[: chosen.n])
        points = measure(model, classifier, real, n=chosen.n, seed=chosen.seed)
        _, others = classifier(test_images[: chosen.n])
        checksums = {"train": train.checksum, "test": test.checksum}
        measured = subject(model, [classifier], **checksums, only=only)
    bound = _point(None, others, real)
    rows = [(point.name, point.frechet, point.density, point.coverage) for point in points]
    rows.append(("real test images", bound.frechet, bound.density, bound.coverage))
    print(table(("truncation", "Fréchet distance", "density", "coverage"), rows))
    figures = figures_of(points)
    write_json(chosen.json, "truncation", {"n": chosen.n, "seed": chosen.seed} | figures, measured)
    if chosen.out is not None:
        draw(chosen.out, f"{measured['artifact']}: {chosen.n:,} samples a point", points, bound)
    record.write(chosen.record, chosen.subject, figures)
