"""How far samples lie from real images and from each other, in pixels and in a judge's features."""

import numpy as np
from numpy.typing import NDArray

from benchmarks.quality.served import Images
from benchmarks.quality.verdicts import Figures
from train import metrics
from train.data import Dataset

_SET_DISTANCES = ("frechet", "density", "coverage", "precision", "recall")


def set_distance(features: NDArray[np.float32], known: NDArray[np.float32]) -> Figures:
    """_SET_DISTANCES of features [n, D] from known ones [n, D]."""
    found = (
        metrics.frechet_distance(features, known),
        *metrics.density_coverage(features, known),
        *metrics.precision_recall(features, known),
    )
    return dict(zip(_SET_DISTANCES, found, strict=True))


def set_distances(
    samples: NDArray[np.float32], train: NDArray[np.float32], test: NDArray[np.float32]
) -> Figures:
    """Fréchet distance, density and coverage, precision and recall of features [n, D] against real
    ones, beside those of real test images. All sets have the size of the smallest; where samples
    and training images allow several disjoint sets of that size, the figures are means over them.
    """
    size = min(len(samples), len(train), len(test))
    folds = min(len(samples), len(train)) // size
    estimates: dict[str, list[float]] = {}
    for fold in range(folds):
        part = slice(fold * size, (fold + 1) * size)
        for suffix, features in (("", samples[part]), ("_real", test[:size])):
            for name, value in set_distance(features, train[part]).items():
                estimates.setdefault(name + suffix, []).append(value)
    return {"set_size": size} | {name: float(np.mean(found)) for name, found in estimates.items()}


def diversity(images: Images, features: NDArray[np.float32]) -> Figures:
    """Mean pairwise distance: root-mean-square grey levels a pixel, and in classifier features."""
    pixels = images.reshape(len(images), -1)
    return {
        "diversity_pixels": metrics.mean_pairwise_distance(pixels) / pixels.shape[1] ** 0.5,
        "diversity_features": metrics.mean_pairwise_distance(features),
    }


def nearest(images: Images, train: Images) -> tuple[NDArray[np.int64], float]:
    """The nearest training image in pixels: indices [n], median RMS distance in grey levels."""
    pixels = images.reshape(len(images), -1)
    indices, distances = metrics.nearest_neighbours(pixels, train.reshape(len(train), -1))
    return indices, float(np.median(distances)) / pixels.shape[1] ** 0.5


def seen_to_unseen(images: Images, train: Images, test: Images, *, mirrored: bool) -> float:
    """Mean distance in pixels of the nearest training image over that of the nearest test image,
    among as many of each, from the first half of the training images (the other half then gives
    the same figure of real images). 1 where samples are no nearer to the training images; lower by
    the share of copies among the samples, `mirrored` ones too. A distance alone is also small for
    samples that are merely smooth."""
    size = min(len(train) // 2, len(test))
    known = [
        np.concatenate([part, part[:, :, ::-1]]) if mirrored else part
        for part in (train[:size], test[:size])
    ]
    pixels, *known = (part.reshape(len(part), -1) for part in (images, *known))
    seen, unseen = (metrics.nearest_neighbours(pixels, points)[1].mean() for points in known)
    return float(seen / unseen)


def real_images(data: Dataset, only: str | None = None) -> Images:
    """All images, or those of one class, `shuffled`."""
    return shuffled(
        data.images if only is None else data.images[data.labels == data.classes.index(only)]
    )


def shuffled(images: Images) -> Images:
    """In a fixed order of which any part is a fair sample: data sets are often sorted by class."""
    return images[np.random.default_rng(0).permutation(len(images))]
