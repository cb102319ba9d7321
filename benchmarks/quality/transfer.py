"""Train on generated, test on real: a classifier that has seen samples only reads real images.

Its accuracy falls where samples are wrong for their label and where they miss ways of writing a
digit (Shmelkov et al. 2018, arXiv:1807.09499: GAN-train). Beside it the same classifier, trained as
long on as many real images. Both train from the same seed in fp32.
"""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

import runtime
from benchmarks.quality.classifier import RECIPES, load_data
from benchmarks.quality.network import Network, fit
from benchmarks.quality.served import by_label, served
from benchmarks.report import table
from benchmarks.results import record
from train.data import Dataset

BATCH = 500


def labelled(model: runtime.Model, n: int, seed: int) -> Dataset:
    """`n` samples, as many of each label, no truncation."""
    each = n // len(model.manifest.labels or (None,))
    samples = by_label(model, each, seed)
    return Dataset(
        name=model.manifest.name,
        images=np.concatenate(list(samples.values())),
        labels=np.arange(len(samples)).repeat(each),
        classes=tuple(samples),
        licence=model.manifest.licence,
    )


@torch.no_grad()
def accuracy(network: Network, images: NDArray[np.uint8], labels: NDArray[np.int64]) -> float:
    """The share of images [n, H, W, C] whose label the network predicts."""
    right = 0
    for start in range(0, len(images), BATCH):
        batch = torch.from_numpy(images[start : start + BATCH].transpose(0, 3, 1, 2).copy())
        logits, _ = network(batch.float() * (2 / 255) - 1)
        right += int((logits.argmax(dim=1).numpy() == labels[start : start + BATCH]).sum())
    return right / len(images)


def main(arguments: Sequence[str]) -> None:
    """`python -m benchmarks transfer ARTIFACT_OR_RUN … --data PATH`"""
    parser = argparse.ArgumentParser(prog="python -m benchmarks transfer", description=__doc__)
    parser.add_argument("subjects", nargs="+", help="artifacts or runs of conditional MNIST models")
    parser.add_argument("--data", type=Path, required=True, help="folder of the MNIST files")
    parser.add_argument("--n", type=int, default=60_000, help="samples (%(default)s)")
    parser.add_argument("--steps", type=int, default=1000, help="of the classifier (%(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--record", metavar="NAME", nargs="+", help="keep the figures of runs for docs/results.md"
    )
    options = parser.parse_args(arguments)
    if options.record is not None and len(options.record) != len(options.subjects):
        parser.error("--record: expected as many names as runs")
    train, test = load_data("mnist", options.data)
    recipe = replace(RECIPES["mnist"], steps=options.steps)

    def trained_on(data: Dataset) -> float:
        return accuracy(fit(recipe, data, options.seed, bf16=False), test.images, test.labels)

    real = trained_on(some(train, options.n))
    rows: list[tuple[str, float]] = [("real training images", real)]
    for name, subject in zip(options.record or options.subjects, options.subjects, strict=True):
        with served(subject) as model:
            data = labelled(model, options.n, options.seed)
        found = trained_on(data)
        rows.append((data.name, found))
        if options.record is not None:
            figures = {"train_on_generated": found, "train_on_real": real}
            record.write(name, Path(subject), figures)
    print(table(("trained on, tested on real test images", "accuracy"), rows))


def some(data: Dataset, n: int) -> Dataset:
    """The first n of a shuffle."""
    chosen = np.random.default_rng(0).permutation(len(data.images))[:n]
    return data.rows(data.name, chosen)
