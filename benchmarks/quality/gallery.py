"""The picture at the top of the README, drawn by the shipped artifacts."""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np

import runtime
from runtime.images import UInt8Array, contact_sheet, fit, to_picture
from runtime.images.encoding import encode_image
from runtime.images.volumes import as_pictures

SEED = 7
GAP = 12
PROMPTS = (
    "a large bright circle in the centre",
    "a small dark square at the top left",
    "a large dark triangle at the bottom, turned",
    "a small bright square in the centre, turned",
    "a large bright triangle at the top right",
    "a small bright circle at the bottom left",
)
"""One a row."""
FURNITURE = {"bed": (7, 10), "chair": (1, 11), "lamp": (3, 10), "shelf": (0, 9), "table": (1, 11)}
"""Seeds of two of each kind, chosen from seeds 0 to 11: many of these volumes are not in one piece.
Nothing is chosen in the other panels."""


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks gallery", description=__doc__)
    parser.add_argument("--artifacts", type=Path, default=Path("artifacts"))
    parser.add_argument("--out", type=Path, default=Path("docs/samples.png"))
    options = parser.parse_args(arguments)

    root: Path = options.artifacts
    # Rows of the conditional model's sheet: the same digit once in every column.
    digits = [str(column) for _ in range(8) for column in range(10)]
    frogs = _samples(root / "cifar10-frogs-dcgan", 80)
    rows = (
        (
            _sheet(_manifold(root / "mnist-vae-2d", 8), 8, 32),
            _sheet(_samples(root / "mnist-vae", 64), 8, 32),
            _sheet(_samples(root / "mnist-cgan", 80, labels=digits), 10, 32),
            _sheet(frogs, 10, 32),
        ),
        (
            _sheet(_prompted(root / "shapes-prompted", 7), 7, 32),
            _sheet(_of_each_label(root / "twemoji"), 3, 64),
            _sheet(_chosen(root / "furniture-vae"), len(FURNITURE), 96),
            _sheet(_coloured(root / "cifar10-pix2pix", frogs[:24]), 8, 32),
        ),
    )
    options.out.write_bytes(encode_image(_beside([_beside(row, axis=1) for row in rows], axis=0)))
    print(options.out)


def _samples(artifact: Path, count: int, labels: Sequence[str] | None = None) -> UInt8Array:
    with runtime.load(artifact) as model:
        return model.sample(count, seed=SEED, labels=labels)


def _of_each_label(artifact: Path) -> UInt8Array:
    with runtime.load(artifact) as model:
        labels = model.manifest.labels or ()
        return model.sample(len(labels), seed=SEED, labels=labels)


def _chosen(artifact: Path) -> UInt8Array:
    """A column for each kind."""
    rows = zip(*FURNITURE.values(), strict=True)
    seeds = [seed for row in rows for seed in row]
    with runtime.load(artifact) as model:
        return model.sample(seeds=seeds, labels=[*FURNITURE] * (len(seeds) // len(FURNITURE)))


def _manifold(artifact: Path, steps: int) -> UInt8Array:
    with runtime.load(artifact) as model:
        return model.manifold(steps)


def _prompted(artifact: Path, columns: int) -> UInt8Array:
    with runtime.load(artifact) as model:
        prompts = [prompt for prompt in PROMPTS for _ in range(columns)]
        return model.sample(len(prompts), seed=SEED, prompt=prompts)


def _coloured(artifact: Path, pictures: UInt8Array) -> UInt8Array:
    """Each picture in grey, and beside it what the network makes of that."""
    with runtime.load(artifact) as model:
        spec = model.manifest.image()
        grey = np.stack([fit(to_picture(picture), spec) for picture in pictures])
        made = model.translate(grey)
    pairs = np.stack([np.broadcast_to(grey, made.shape), made], axis=1)
    return pairs.reshape(-1, *made.shape[1:])


def _sheet(images: UInt8Array, columns: int, cell: int) -> UInt8Array:
    """Images, or pictures of volumes, in RGB, in cells of `cell` pixels a side."""
    shown = as_pictures(images)
    edge = (cell - shown.shape[1]) // 2
    padded = np.pad(shown, ((0, 0), (edge, edge), (edge, edge), (0, 0)))
    return contact_sheet(np.broadcast_to(padded, (*padded.shape[:3], 3)), columns)


def _beside(parts: Sequence[UInt8Array], axis: int) -> UInt8Array:
    """Sheets with white gaps between them."""
    shape = list(parts[0].shape)
    shape[axis] = GAP
    gap = np.full(shape, 255, np.uint8)
    return np.concatenate([each for part in parts for each in (gap, part)][1:], axis=axis)
