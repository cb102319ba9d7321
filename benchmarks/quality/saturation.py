"""The generator's gradient under the minimax and the non-saturating loss, from the runs' own logs.

Goodfellow et al. (2014), arXiv:1406.2661, section 3: early in training the discriminator
separates samples from real images with confidence. There log(1 - D(G(z))) is flat and the generator
learns little, while -log D(G(z)) is steep. Both runs share networks, data and seed.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.plot import OTHERS, OURS, pyplot
from benchmarks.report import table
from benchmarks.results import record

EARLY = 300
"""Steps that count as early."""

Log = Mapping[str, NDArray[np.float64]]
"""Each logged scalar by step, and `step` itself."""


def read_log(run: Path) -> Log:
    """`metrics.jsonl` of a run folder; only what every line has."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    names = set.intersection(*(set(line) for line in lines))
    return {name: np.array([line[name] for line in lines]) for name in names}


def early(log: Log) -> dict[str, float]:
    """Medians over the logged steps up to EARLY: the length of the generator's gradient, and the
    probability D(G(z)) that the discriminator gives its samples (by the mean score)."""
    first = log["step"] <= EARLY
    return {
        "early_gradient": float(np.median(log["generator/gradient"][first])),
        "early_fake_probability": float(
            np.median(1 / (1 + np.exp(-log["discriminator/fake"][first])))
        ),
    }


def draw(path: Path, logs: Mapping[str, Log]) -> None:
    """Gradient and D(G(z)) by step, one line a run."""
    plt = pyplot()
    figure, axes = plt.subplots(2, 1, figsize=(8, 6), sharex=True, layout="constrained")
    panels: Any = axes
    for (name, log), colour in zip(logs.items(), (OURS, "#c0392b", OTHERS), strict=False):
        probability = 1 / (1 + np.exp(-log["discriminator/fake"]))
        panels[0].semilogy(log["step"], log["generator/gradient"], color=colour, label=name, lw=1)
        panels[1].semilogy(log["step"], probability, color=colour, lw=1)
    panels[0].set_ylabel("length of the generator's gradient")
    panels[0].legend()
    panels[1].set_ylabel("D(G(z)), by the mean score")
    panels[1].set_xlabel("step")
    for panel in panels:
        panel.axvspan(0, EARLY, color="0.93", zorder=0)
        panel.spines[["top", "right"]].set_visible(False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, format="png", dpi=100)
    plt.close(figure)


def main(arguments: Sequence[str]) -> None:
    """`python -m benchmarks saturation RUN RUN --out PICTURE`"""
    parser = argparse.ArgumentParser(prog="python -m benchmarks saturation", description=__doc__)
    parser.add_argument("runs", type=Path, nargs="+", help="run folders, such as those of "
                        "mnist_minimax and mnist_gan")  # fmt: skip
    parser.add_argument("--out", type=Path, help="draw the gradients there, PNG")
    parser.add_argument(
        "--record", metavar="NAME", nargs="+", help="keep the figures for docs/results.md"
    )
    options = parser.parse_args(arguments)
    if options.record is not None and len(options.record) != len(options.runs):
        parser.error("--record: expected as many names as runs")
    logs = {run.name: read_log(run) for run in options.runs}
    found = {name: early(log) for name, log in logs.items()}
    rows = [(name, *figures.values()) for name, figures in found.items()]
    print(table((f"medians of the first {EARLY} steps", "gradient", "D(G(z))"), rows))
    if options.out is not None:
        draw(options.out, logs)
    for name, run in zip(options.record or (), options.runs, strict=False):
        record.write(name, run, found[run.name])
