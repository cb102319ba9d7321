"""Stacked MNIST: three digits as the red, green and blue of one picture, a thousand modes.

Metz et al. (2017), Unrolled GAN, arXiv:1611.02163, section 3.3.1; how many of the modes a
generator draws shows how far it has collapsed.
"""

from pathlib import Path

import numpy as np

from runtime.images import ImageSpec
from train.data import mnist
from train.data.dataset import Dataset, Splits
from train.data.source import Options, source


def stack(digits: Dataset, count: int, seed: int) -> Dataset:
    """`count` pictures, each of three digits drawn with replacement; label 100 r + 10 g + b."""
    rows = np.random.default_rng(seed).integers(len(digits.images), size=(count, 3))
    return Dataset(
        name=f"stacked-{digits.name}",
        images=np.stack([digits.images[channel, :, :, 0] for channel in rows.T], axis=-1),
        labels=digits.labels[rows] @ np.array([100, 10, 1]),
        classes=tuple(f"{mode:03}" for mode in range(1000)),
        licence=digits.licence,
    )


@source("stacked-mnist")
def load(path: Path | None, spec: ImageSpec, options: Options) -> Splits:
    """As many pictures as MNIST has, drawn once: the seeds are part of the data set."""
    digits = mnist.load(path, spec, options)
    test = digits.test and stack(digits.test, len(digits.test.images), seed=1)
    return Splits(stack(digits.train, len(digits.train.images), 0), test, digits.held_out)
