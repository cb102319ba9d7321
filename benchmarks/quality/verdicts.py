"""A judge's verdict on samples: how sure it is, which classes it sees, whether labels match."""

import numpy as np
from numpy.typing import NDArray

from benchmarks.errors import UnfitError
from benchmarks.quality.judge import Classifier
from benchmarks.quality.served import Images
from train import metrics
from train.data import Dataset

Figures = dict[str, float]

SURE = 0.9
"""The confidence from which a sample counts as recognised."""


def recognised(probabilities: NDArray[np.float32]) -> Figures:
    """How sure the classifier is of samples, probabilities [n, K], and which classes they show."""
    shares = metrics.class_shares(probabilities.argmax(axis=1), probabilities.shape[1])
    return {
        "sure": float((probabilities.max(axis=1) >= SURE).mean()),
        "class_share_least": float(shares.min()),
    }


def as_asked(samples: dict[str, Images], classifier: Classifier) -> Figures:
    """The share of samples `by_label` that are recognised as the label asked for."""
    if not set(samples) <= set(classifier.classes):
        raise UnfitError(
            f"labels: expected classes of {classifier.name} ({', '.join(classifier.classes)}), "
            f"found {', '.join(samples)}"
        )
    shares = {
        name: float((classifier(images)[0].argmax(axis=1) == classifier.classes.index(name)).mean())
        for name, images in samples.items()
    }
    return {
        "as_asked": float(np.mean(list(shares.values()))),
        "as_asked_least": min(shares.values()),
        **{f"as_asked_{name}": share for name, share in shares.items()},
    }


def by_second(
    judge: Classifier, samples: Images, labelled: dict[str, Images] | None, test: Dataset
) -> Figures:
    """What the second judge makes of samples and of the real test images: how sure it is and, of
    those `by_label`, the share recognised as asked. It shares no weights with the features."""
    shown, shown_real = judge(samples)[0], judge(test.images)[0]
    figures, real = recognised(shown), recognised(shown_real)
    kept = ["sure"]
    if labelled is not None:
        kept += ["as_asked", "as_asked_least"]
        figures |= as_asked(labelled, judge)
        real |= accuracy(shown_real, test.labels)
    return {f"{name}_second": figures[name] for name in kept} | {
        f"{name}_second_real": real[name] for name in kept
    }


def accuracy(probabilities: NDArray[np.float32], labels: NDArray[np.int64]) -> Figures:
    """The share of real images that the judge reads rightly, and that of the worst class."""
    right = probabilities.argmax(axis=1) == labels
    by_class = [right[labels == label].mean() for label in np.unique(labels)]
    return {"as_asked": float(right.mean()), "as_asked_least": float(min(by_class))}
