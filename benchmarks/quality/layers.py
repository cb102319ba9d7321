"""What each stochastic layer of a decoder controls: its noise drawn again, all else kept.

Measured on what is served, an artifact or a run's export whose decoder takes noise beside its
latents. Layers are numbered from the image up, as in `train.networks.layered`; the top one is the
latents.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

import runtime
from benchmarks.errors import UnfitError
from benchmarks.quality.judge import Classifier, load_classifier
from benchmarks.quality.served import Images, data_set_of, parser, served
from benchmarks.report import table
from benchmarks.results import record
from runtime.batching.jobs import Job
from runtime.engines.backend import Inputs
from runtime.images import contact_sheet, to_picture
from runtime.requests.request import Described
from runtime.requests.sample import Sample

SHOWN = 4
"""Samples in the picture, each with a line for each layer: itself, then drawn again."""
COLUMNS = 10


@dataclass(frozen=True)
class Redrawn:
    """Images 0 .. n - 1 of `seed`, but for one input of the graph, which is that of `other`."""

    n: int
    seed: int
    tensor: str
    other: int

    def job(self, model: Described) -> Job[Images]:
        kept, drawn = (Sample(self.n, seed=seed).job(model) for seed in (self.seed, self.other))

        def rows(start: int, stop: int) -> Inputs:
            return {**kept.rows(start, stop), self.tensor: drawn.rows(start, stop)[self.tensor]}

        return replace(kept, rows=rows)


def layers_of(model: runtime.Model) -> dict[int, str]:
    """Number of each stochastic layer -> the decoder's input that it is drawn from, top first."""
    inputs = model.manifest.graphs["decode"].inputs
    names = [tensor.name for tensor in inputs if tensor.role in ("latents", "noise")]
    if len(names) < 2:
        raise UnfitError(
            f"{model.manifest.name}: expected a decoder that takes noise beside its latents, "
            f"found {[tensor.name for tensor in inputs]}"
        )
    return dict(zip(range(len(names), 0, -1), names, strict=True))


def sheet(model: runtime.Model, seed: int) -> Images:
    """A line for each of `SHOWN` samples and each layer, top first: the sample, then that layer
    drawn again, [SHOWN * layers * COLUMNS, H, W, C]."""
    images = model.sample(SHOWN, seed=seed)
    lines = [
        [images, *(model.run(Redrawn(SHOWN, seed, name, seed + c)) for c in range(1, COLUMNS))]
        for name in layers_of(model).values()
    ]
    by_sample = np.stack([np.stack(line) for line in lines]).transpose(2, 0, 1, 3, 4, 5)
    return by_sample.reshape(-1, *images.shape[1:])


def measure(model: runtime.Model, classifier: Classifier, n: int, seed: int) -> dict[str, float]:
    """For each layer drawn again: how far images move (root mean square, grey levels), and the
    share that the classifier takes for the same class as before."""
    images = model.sample(n, seed=seed)
    before = classifier(images)[0].argmax(axis=1)
    figures: dict[str, float] = {}
    for number, name in layers_of(model).items():
        drawn = model.run(Redrawn(n, seed, name, seed + 1))
        moved = (drawn.astype(np.float64) - images) ** 2
        figures[f"moved_layer_{number}"] = float(np.sqrt(moved.mean()))
        same = classifier(drawn)[0].argmax(axis=1) == before
        figures[f"class_kept_layer_{number}"] = float(same.mean())
    return figures


def main(arguments: Sequence[str]) -> None:
    """`python -m benchmarks layers ARTIFACT_OR_RUN`"""
    options = parser("layers", __doc__, n=2000)
    options.add_argument("--out", type=Path, help="draw samples there, each layer again, PNG")
    chosen = options.parse_args(arguments)
    with served(chosen.subject) as model:
        classifier = load_classifier(data_set_of(model))
        figures = measure(model, classifier, chosen.n, chosen.seed)
        rows = [
            (number, figures[f"moved_layer_{number}"], figures[f"class_kept_layer_{number}"])
            for number in layers_of(model)
        ]
        header = (f"layer of {model.manifest.name} drawn again", "moved", "class kept")
        print(table(header, rows))
        if chosen.out is not None:
            to_picture(contact_sheet(sheet(model, chosen.seed), COLUMNS)).save(chosen.out)
    record.write(chosen.record, chosen.subject, figures)
