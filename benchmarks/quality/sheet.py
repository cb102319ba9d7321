"""Samples of several models one above the other: the same seed, none chosen."""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np

import runtime
from benchmarks.plot import pyplot
from benchmarks.quality.served import Images, served

COLUMNS = 20


def draw(path: Path, rows: Sequence[tuple[str, Images]]) -> None:
    """One row of pictures [COLUMNS, H, W, C] a model, with its name."""
    names, pictures = zip(*rows, strict=True)
    plt = pyplot()
    grid = np.vstack([np.hstack(list(images)) for images in pictures])
    figure, panel = plt.subplots(figsize=(8, 8 * grid.shape[0] / grid.shape[1]))
    side = len(grid) / len(rows)
    panel.imshow(grid.squeeze(), cmap="gray", vmin=0, vmax=255)
    panel.set_position((0, 0, 1, 1))
    panel.set_yticks([(row + 0.5) * side for row in range(len(rows))], names, fontsize=9)
    panel.set_xticks([])
    panel.spines[:].set_visible(False)
    figure.savefig(path, format="png", dpi=110, bbox_inches="tight")
    plt.close(figure)


def _name(subject: str, model: runtime.Model) -> str:
    """A run by its folder, whose name holds its seed; an artifact by its name."""
    return Path(subject).name if (Path(subject) / "run.json").is_file() else model.manifest.name


def main(arguments: Sequence[str]) -> None:
    """`python -m benchmarks sheet ARTIFACT_OR_RUN … --out PICTURE`"""
    parser = argparse.ArgumentParser(prog="python -m benchmarks sheet", description=__doc__)
    parser.add_argument("subjects", nargs="+", help="artifacts or runs with images of one size")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True, help="write the picture there, PNG")
    options = parser.parse_args(arguments)
    rows = []
    for subject in options.subjects:
        with served(subject) as model:
            rows.append((_name(subject, model), model.sample(COLUMNS, seed=options.seed)))
    draw(options.out, rows)
    print(options.out)
