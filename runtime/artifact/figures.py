"""What the figures of a manifest mean, for people: `python -m benchmarks quality` measures most."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Better = Literal["lower", "higher"]

_SHARE, _LEVELS, _NATS, _FEATURES = "share", "grey levels (RMS)", "nats an image", "features"

_Known = tuple[str, Better | None, str]

_L1: _Known = (
    "grey levels",
    "lower",
    "Mean absolute difference between what is made of test images and what was wanted.",
)
_PSNR: _Known = (
    "dB",
    "higher",
    "The same as a peak signal-to-noise ratio: a mean over images.",
)
_KNOWN: dict[str, _Known] = {
    "frechet": (
        "distance of feature distributions",
        "lower",
        "How far the samples' distribution is from that of real images, in a classifier's "
        "features: good values are near that of other real images.",
    ),
    "density": (
        "ratio",
        "higher",
        "How many real images lie around a sample: about 1 where samples look like real images.",
    ),
    "coverage": (
        _SHARE,
        "higher",
        "Real images with a sample nearby: low where kinds of images are missing.",
    ),
    "precision": (_SHARE, "higher", "Samples that lie among the real images: low where many fail."),
    "recall": (_SHARE, "higher", "Real images that lie among the samples: low where kinds miss."),
    "sure": (
        _SHARE,
        "higher",
        "Samples that a classifier names with a confidence of at least 0.9, as it does most real "
        "images.",
    ),
    "sure_second": (
        _SHARE,
        "higher",
        "The same by a second classifier, which took no part in the other figures.",
    ),
    "class_share_least": (
        _SHARE,
        "higher",
        "The rarest class among the samples: near 0 where a class is never drawn.",
    ),
    "of_class": (_SHARE, "higher", "Samples that a classifier takes for the class trained on."),
    "as_asked": (_SHARE, "higher", "Samples that a classifier takes for the class asked for."),
    "as_asked_least": (_SHARE, "higher", "The same for the class that does worst."),
    "as_asked_second": (_SHARE, "higher", "Taken for the class asked for by a second classifier."),
    "as_asked_least_second": (_SHARE, "higher", "The same for the class that does worst."),
    "diversity_pixels": (
        _LEVELS,
        "higher",
        "Mean distance between two samples: well below that of real images where samples are "
        "alike.",
    ),
    "diversity_features": (
        _FEATURES,
        "higher",
        "Mean distance between two samples in a classifier's features: well below that of real "
        "images where samples are alike.",
    ),
    "nearest_pixels": (
        _LEVELS,
        None,
        "Median distance to the nearest training image: near 0 for copies, and about as for "
        "unseen real images where none are.",
    ),
    "nearest_features": (
        _FEATURES,
        None,
        "Median distance to the nearest training image in a classifier's features: near 0 for "
        "copies, and about as for unseen real images where none are.",
    ),
    "nearest_pixels_ratio": (
        "ratio",
        None,
        "That distance in pixels over that of unseen real images: near 0 for copies, 1 is good.",
    ),
    "nearest_features_ratio": (
        "ratio",
        None,
        "That distance in features over that of unseen real images: near 0 for copies, 1 is good.",
    ),
    "seen_to_unseen": (
        "ratio",
        "higher",
        "Distance to the nearest training image over that to the nearest unseen one: 1 where "
        "nothing is copied, lower by the share of copies.",
    ),
    "judge_accuracy": (
        _SHARE,
        "higher",
        "How often the classifier is right of pictures that it has not seen: the other figures say "
        "little where it is not.",
    ),
    "reconstruction": (_LEVELS, "lower", "How far encoded and decoded test images are off."),
    "kl": (
        _NATS,
        None,
        "What the latents of test images hold: more with larger latents, 0 where they are unused.",
    ),
    "test_loss": (_NATS, "lower", "Negative ELBO of test images, compared at equal data alone."),
    "test_loss_served": (_NATS, "lower", "The same, of images in whole grey levels as served."),
    "test_reconstruction": (_NATS, "lower", "The part of that loss that tells images apart."),
    "test_l1": _L1,
    "test_psnr": _PSNR,
    "test_kl": (_NATS, None, "The part of that loss that the latents cost."),
    "as_prompted": (
        _SHARE,
        "higher",
        "Samples that have all that their prompt says, as a network reads it back.",
    ),
    "as_prompted_unseen": (
        _SHARE,
        "higher",
        "The same for combinations of words that were never trained on.",
    ),
    "iou": (
        _SHARE,
        "higher",
        "What a test volume and the one rebuilt of it share, of what either fills: a mean.",
    ),
    "iou_least": (_SHARE, "higher", "The same for the kind that does worst."),
    "nearest_iou": (
        _SHARE,
        "higher",
        "What a test volume shares with the sample nearest to it, of what either fills: good "
        "values are near that of as many training volumes.",
    ),
    "coverage_ratio": (
        "ratio",
        "higher",
        "Test volumes that a sample is nearest to, over those that a training volume is nearest "
        "to: low where kinds are missing.",
    ),
    "l1": _L1,
    "psnr": _PSNR,
    "ssim": (
        "similarity",
        "higher",
        "Structural similarity of what is made of test images and what was wanted: 1 where they "
        "are the same.",
    ),
    "psnr_over_grey": ("dB", "higher", "By how much it is better than the grey pictures."),
}

CONDITIONS = frozenset({"n", "seed", "set_size", "taught", "held"})
"""How was measured: these are no figures."""

_BY_CLASS = "as_asked_"
_REAL = "_real"
_OTHER = {
    "_reconstructed": "Of test images, encoded and decoded.",
    "_grey": "Of the grey pictures as they are, which are the simple answer.",
}
"""Endings of a figure of something else than what the network makes."""
_BESIDE = (_REAL, "_deviation")
"""Endings of what stands beside a figure: the same of real images, and how far it varies."""


@dataclass(frozen=True)
class Figure:
    """A figure and what is good: `better` is None where it should be as that of real images, or as
    the meaning says. `real`: the same measured between real pictures, to compare with."""

    name: str
    value: float
    unit: str | None
    meaning: str | None
    better: Better | None
    real: float | None = None


def explained(figures: Mapping[str, float]) -> list[Figure]:
    """The figures of a manifest in their order; those that are not known here, unexplained."""
    found: list[Figure] = []
    for name, value in figures.items():
        beside = any(name.endswith(e) and name.removesuffix(e) in figures for e in _BESIDE)
        if name in CONDITIONS or beside or not math.isfinite(value):
            continue
        other = next((e for e in _OTHER if name.endswith(e) and name not in _KNOWN), "")
        base = name.removesuffix(other)
        unit, better, meaning = _KNOWN.get(base, (None, None, None))
        if other and meaning is not None:
            meaning = f"{_OTHER[other]} {meaning}"
        elif name not in _KNOWN and name.startswith(_BY_CLASS):
            label = name.removeprefix(_BY_CLASS)
            unit, better = _SHARE, "higher"
            meaning = f"Samples asked for as {label} that a classifier takes for it."
        real = figures.get(base + _REAL, math.nan)
        found.append(
            Figure(name, value, unit, meaning, better, real if math.isfinite(real) else None)
        )
    return found
