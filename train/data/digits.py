"""scikit-learn's bundled digits: 1,797 images of 8x8 pixels, no download."""

from pathlib import Path

import numpy as np

from runtime.images import ImageSpec
from train.data.dataset import Dataset, Splits
from train.data.source import Options, source


@source("digits", files=False)
def load(path: Path | None, spec: ImageSpec, options: Options) -> Splits:
    """Every fifth image is held out."""
    from sklearn.datasets import load_digits  # imported late: it is slow and only tests need it

    values, targets = load_digits(return_X_y=True)
    images = np.rint(values * (255 / 16)).astype(np.uint8).reshape(-1, 8, 8, 1)
    labels = targets.astype(np.int64)
    held_out = np.arange(len(labels)) % 5 == 4

    def part(name: str, chosen: np.ndarray) -> Dataset:
        return Dataset(
            name=name,
            images=images[chosen],
            labels=labels[chosen],
            classes=tuple("0123456789"),
            licence="Optical Recognition of Handwritten Digits (Alpaydin and Kaynak), CC BY 4.0.",
        )

    return Splits(train=part("digits", ~held_out), test=part("digits-test", held_out)).validated(
        options.validation
    )
