"""A data set: uint8 images and labels in memory, with where they come from."""

import hashlib
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from train.errors import DataError


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


@dataclass(frozen=True, eq=False)
class Splits:
    """What a recipe trains on and, where the source has one, its held-out set."""

    train: Dataset
    test: Dataset | None = None
