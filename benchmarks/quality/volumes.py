"""How well a run of furniture rebuilds volumes that it has not seen, and what its samples cover.

Rebuilt: test volumes encoded and decoded, by their intersection over union with the originals.
Covered: samples of each kind, as many as there are test volumes, against these; beside them as many
training volumes, which is what samples of the very distribution would reach.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.quality.served import parser, sample, served
from benchmarks.report import table
from benchmarks.results import record
from runtime.images.volumes import THRESHOLD
from train import metrics
from train.data import Dataset
from train.data.furniture import load_furniture
from train.runs import TrainedRun, load_run

_PART = 50
"""Volumes at a time."""

ROWS = {
    "iou": "rebuilt test volumes, intersection over union (mean)",
    "iou_least": "the same, of the kind that does worst",
    "coverage": "test volumes that a sample is nearest to (share)",
    "coverage_real": "the same of training volumes",
    "coverage_ratio": "the one over the other",
    "nearest_iou": "test volumes and the nearest sample, intersection over union (mean)",
    "nearest_iou_real": "the same of training volumes",
}


@torch.no_grad()
def rebuilt(run: TrainedRun, data: Dataset) -> NDArray[np.bool_]:
    """A data set's volumes encoded, and the means decoded: [N, D * H, W, 1]."""
    encoder, decoder = run.model["encoder"], run.model["decoder"]
    parts = []
    for start in range(0, len(data.images), _PART):
        part = slice(start, start + _PART)
        given = torch.from_numpy(data.images[part].transpose(0, 3, 1, 2).copy()).float() / 255
        mean, _ = encoder(given)
        made = decoder(mean, torch.from_numpy(data.labels[part]))
        parts.append((255 * made).round().permute(0, 2, 3, 1).numpy() >= THRESHOLD)
    return np.concatenate(parts)


def measure(
    data: Dataset, rebuilt: NDArray[np.bool_], samples: NDArray[np.bool_], other: NDArray[np.bool_]
) -> dict[str, float]:
    """The figures of ROWS: of volumes rebuilt from those of `data`, of samples and of an `other`
    real set, in the order of its kinds."""
    real = data.images >= THRESHOLD
    overlaps = metrics.intersection_over_union(rebuilt, real)
    kinds = [float(overlaps[data.labels == kind].mean()) for kind in np.unique(data.labels)]
    figures = {"iou": float(overlaps.mean()), "iou_least": min(kinds)}
    for name, volumes in (("", samples), ("_real", other)):
        coverage, nearest = metrics.nearest_overlaps(volumes, real)
        figures |= {f"coverage{name}": coverage, f"nearest_iou{name}": nearest}
    return figures | {"coverage_ratio": figures["coverage"] / figures["coverage_real"]}


def main(arguments: Sequence[str]) -> None:
    """`python -m benchmarks volumes RUN`"""
    options = parser("volumes", __doc__, subject="a folder that `python -m train` wrote")
    chosen = options.parse_args(arguments)
    run, splits = load_run(Path(chosen.subject)), load_furniture()
    if run.depth is None or splits.test is None:
        options.error(f"expected a run of volumes, found {run.name}")
    test, count = splits.test, len(splits.test.images)
    with served(chosen.subject) as model:
        asked = [test.classes[label] for label in test.labels]
        samples = sample(model, count, chosen.seed, label=asked) >= THRESHOLD
    other = splits.train.images[:count] >= THRESHOLD
    figures = measure(test, rebuilt(run, test), samples, other)
    rows = [(words, figures[name]) for name, words in ROWS.items()]
    print(table((f"{run.name}, {count} volumes", "value"), rows))
    record.write(chosen.record, chosen.subject, figures | {"n": count, "seed": chosen.seed})
