"""A data set: uint8 images and labels in memory, with where they come from."""

import hashlib
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from train.errors import DataError

OURS = "made by this library's code; no rights reserved"
"""The licence of what is drawn in code."""


@dataclass(frozen=True, eq=False)
class Dataset:
    """Images uint8 [N, H, W, C], labels int64 [N] that index `classes`."""

    name: str
    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    classes: tuple[str, ...]
    licence: str
    checksum: str = field(init=False)
    """SHA-256 of the image bytes followed by the label bytes (little-endian int64)."""

    def __post_init__(self) -> None:
        if self.images.dtype != np.uint8 or self.images.ndim != 4 or not len(self.images):
            raise DataError(
                f"{self.name}: images: expected uint8 [N, H, W, C] with N >= 1, "
                f"found {self.images.dtype} {list(self.images.shape)}"
            )
        if self.labels.dtype != np.int64 or self.labels.shape != self.images.shape[:1]:
            raise DataError(
                f"{self.name}: labels: expected int64 [{len(self.images)}], "
                f"found {self.labels.dtype} {list(self.labels.shape)}"
            )
        if self.labels.min() < 0 or self.labels.max() >= len(self.classes):
            raise DataError(
                f"{self.name}: labels: expected 0 to {len(self.classes) - 1} "
                f"({len(self.classes)} classes), "
                f"found {self.labels.min()} to {self.labels.max()}"
            )
        digest = hashlib.sha256(np.ascontiguousarray(self.images).data)
        digest.update(self.labels.astype("<i8").tobytes())
        object.__setattr__(self, "checksum", f"sha256:{digest.hexdigest()}")

    def rows(self, name: str, chosen: NDArray[Any]) -> "Dataset":
        """Some of the images, by number or by a mask, under a name of their own."""
        return replace(self, name=name, images=self.images[chosen], labels=self.labels[chosen])


@dataclass(frozen=True, eq=False)
class Splits:
    """What a recipe trains on and, where the source has one, its held-out set."""

    train: Dataset
    test: Dataset | None = None
    held_out: Literal["test", "validation"] = "test"
    """What the held-out images are: test images, or some of the training images, by which settings
    are chosen."""

    def validated(self, count: int) -> "Splits":
        """With `count` of the training images, a fixed random draw of them, held out in the place
        of the test images, which nothing then sees; 0: as it is.

        Raises DataError where that leaves none to train on.
        """
        if not count:
            return self
        total = len(self.train.images)
        if not 0 < count < total:
            raise DataError(
                f"{self.train.name}: validation: expected fewer than the {total} training images, "
                f"at least 1, found {count}"
            )
        chosen = np.random.default_rng(0).permutation(total) < count
        validation = self.train.rows(f"{self.train.name}-validation", chosen)
        return Splits(self.train.rows(self.train.name, ~chosen), validation, "validation")
