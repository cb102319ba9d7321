"""MNIST with few labels: so many training images of each class, and none besides.

For a generator that has to make do with the labels that a classifier has (`python -m benchmarks
augmentation`): one that was trained on all of them knows more than it may.
"""

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from runtime.images import ImageSpec
from train.data import mnist
from train.data.dataset import Dataset, Splits
from train.data.source import Options, source
from train.errors import DataError

COUNTS = (10, 50, 100)
"""Images a class of the sources `mnist-10-a-class` and so on."""


def few(data: Dataset, count: int, seed: int) -> Dataset:
    """`count` images of each class, drawn without replacement, in random order. Fewer images of
    the same seed are among the more. Raises DataError where a class has not as many."""
    generator = np.random.default_rng(seed)
    rows = []
    for label, name in enumerate(data.classes):
        members = generator.permutation(np.flatnonzero(data.labels == label))
        if len(members) < count:
            raise DataError(
                f"{data.name}: expected {count} images of {name} or more, found {len(members)}"
            )
        rows.append(members[:count])
    chosen = generator.permutation(np.concatenate(rows))
    return data.rows(few_name(data.name, count), chosen)


def few_name(name: str, count: int) -> str:
    """Of the source, and of its images."""
    return f"{name}-{count}-a-class"


def _load(path: Path | None, spec: ImageSpec, options: Options, *, count: int) -> Splits:
    """Seed 0's images; the test images are all there are."""
    splits = mnist.load(path, spec, options)
    return replace(splits, train=few(splits.train, count, seed=0))


for _count in COUNTS:
    source(few_name("mnist", _count))(partial(_load, count=_count))
