"""The picture at the top of the README, drawn by the shipped artifacts."""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np

import runtime
from runtime.images import UInt8Array, contact_sheet
from runtime.images.encoding import encode_image

SEED = 7
SIDE = 8
CELL = 32
GAP = 12


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks gallery", description=__doc__)
    parser.add_argument("--artifacts", type=Path, default=Path("artifacts"))
    parser.add_argument("--out", type=Path, default=Path("docs/samples.png"))
    options = parser.parse_args(arguments)

    root: Path = options.artifacts
    # Rows of the conditional model's sheet: the same digit once in every column.
    digits = [str(column) for _ in range(SIDE) for column in range(10)]
    panels = [
        _panel(root / "mnist-vae-2d", SIDE, manifold=True),
        _panel(root / "mnist-vae", SIDE),
        _panel(root / "mnist-cgan", 10, labels=digits),
        _panel(root / "cifar10-frogs-dcgan", SIDE),
    ]
    gap = np.full((SIDE * CELL, GAP, 3), 255, np.uint8)
    row = [part for panel in panels for part in (gap, panel)][1:]
    options.out.write_bytes(encode_image(np.concatenate(row, axis=1)))
    print(options.out)


def _panel(
    artifact: Path, columns: int, *, labels: Sequence[str] | None = None, manifold: bool = False
) -> UInt8Array:
    """SIDE rows of samples as RGB [SIDE * CELL, columns * CELL, 3]; smaller images are centred."""
    with runtime.load(artifact) as model:
        if manifold:
            images = model.manifold(SIDE)
        else:
            images = model.sample(SIDE * columns, seed=SEED, labels=labels)
    edge = (CELL - images.shape[1]) // 2
    padded = np.pad(images, ((0, 0), (edge, edge), (edge, edge), (0, 0)))
    return contact_sheet(np.broadcast_to(padded, (*padded.shape[:3], 3)), columns)
