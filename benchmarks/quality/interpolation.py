"""The way between two samples: does a generator know what lies between them, or jump?

Radford et al. (2016), arXiv:1511.06434, section 6.1: sharp steps on the way are a sign of memorised
images. Paths follow the great circle (`slerp`), as `Model.interpolate` does; the straight line
(`lerp`) stands beside it.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

import runtime
from benchmarks.quality.judge import Classifier, load_classifier
from benchmarks.quality.served import Images, data_set_of, parser, served, trained_on
from benchmarks.quality.verdicts import SURE, Figures
from benchmarks.report import table
from benchmarks.results import record
from runtime.images import contact_sheet, to_picture
from runtime.sampling.paths import PathKind

PATHS = 300
STEPS = 13
"""Pictures on each path, both ends with it."""
ROWS = 6
"""Paths on the picture."""


def paths(model: runtime.Model, kind: PathKind, count: int, seed: int) -> Images:
    """Pictures [count, STEPS, H, W, C] between neighbouring samples of `seed`, no sample twice."""
    ends = model.latents(2 * count, seed=seed)
    walks = [
        model.interpolate(a, b, STEPS, kind) for a, b in zip(ends[::2], ends[1::2], strict=True)
    ]
    return np.stack(walks)


def largest_step(walks: Images) -> float:
    """Of each path [P, S, H, W, C], its largest step over the sum of its steps (RMS of pixels): the
    median. 1 / (S - 1) for an even path, 1 for one that jumps once from one end to the other."""
    pixels = walks.reshape(*walks.shape[:2], -1).astype(np.float32)
    steps = np.sqrt((np.diff(pixels, axis=1) ** 2).mean(axis=2))
    return float(np.median(steps.max(axis=1) / np.maximum(steps.sum(axis=1), 1e-9)))


def legible(images: Images, classifier: Classifier, only: str | None) -> float:
    """The share of images of which the classifier is sure, or which it takes for class `only`."""
    probabilities, _ = classifier(images)
    if only is None:
        return float((probabilities.max(axis=1) >= SURE).mean())
    return float((probabilities.argmax(axis=1) == classifier.classes.index(only)).mean())


def measure(model: runtime.Model, classifier: Classifier, seed: int) -> tuple[Figures, Images]:
    """Legibility of both ends and of the middle by each kind of path, the largest step, and the
    first ROWS great circles [ROWS, STEPS, H, W, C]."""
    only = trained_on(model, classifier.classes)
    round_walks, straight_walks = (paths(model, kind, PATHS, seed) for kind in ("slerp", "lerp"))
    middle = STEPS // 2
    figures = {
        "legible_ends": legible(np.concatenate(round_walks[:, [0, -1]]), classifier, only),
        "legible_middle_slerp": legible(round_walks[:, middle], classifier, only),
        "legible_middle_lerp": legible(straight_walks[:, middle], classifier, only),
        "largest_step": largest_step(round_walks),
        "largest_step_even": 1 / (STEPS - 1),
    }
    return figures, round_walks[:ROWS]


def main(arguments: Sequence[str]) -> None:
    """`python -m benchmarks interpolation ARTIFACT_OR_RUN`"""
    options = parser("interpolation", __doc__, subject="an unconditional artifact, or a run")
    options.add_argument("--out", type=Path, help="write some paths there, PNG")
    chosen = options.parse_args(arguments)
    with served(chosen.subject) as model:
        classifier = load_classifier(data_set_of(model))
        figures, shown = measure(model, classifier, chosen.seed)
        name = model.manifest.name
    print(table((f"{name}, {PATHS} paths of {STEPS}", "value"), list(figures.items())))
    if chosen.out is not None:
        sheet = contact_sheet(np.concatenate(shown), STEPS)
        to_picture(sheet.repeat(2, axis=0).repeat(2, axis=1)).save(chosen.out)
    record.write(chosen.record, chosen.subject, figures)
