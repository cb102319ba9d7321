"""The data sets that recipes name, each a function from `--data` to splits."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from runtime.images import ImageSpec
from train.data import mnist
from train.data.binarised import binarised
from train.data.dataset import Dataset, Splits
from train.data.images import load_images
from train.data.shapes import load_shapes
from train.data.stacked import stack
from train.errors import DataError


def load(source: str, path: Path | None, spec: ImageSpec, *, download: bool = False) -> Splits:
    """Load the data set `source` from `path`; every image has the size and channels of `spec`.

    Raises DataError where the path is needed and missing, or its content is not as expected.
    """
    return SOURCES[source](path, spec, download)


def _mnist(path: Path | None, spec: ImageSpec, download: bool) -> Splits:
    folder = _needed(path, "the folder of the four MNIST files")
    if download:
        mnist.download_mnist(folder, mnist.MIRRORS)
    splits = mnist.load_mnist(folder)
    if splits.train.images.shape[1:] != spec.shape:
        raise DataError(f"mnist: expected images {spec.shape}, found (28, 28, 1)")
    return splits


def _stacked(path: Path | None, spec: ImageSpec, download: bool) -> Splits:
    """As many pictures as MNIST has, drawn once: the seeds are part of the data set."""
    if spec.shape != (28, 28, 3):
        raise DataError(f"stacked-mnist: expected images {spec.shape}, found (28, 28, 3)")
    digits = _mnist(path, ImageSpec(height=28, width=28, channels=1), download)
    test = digits.test and stack(digits.test, len(digits.test.images), seed=1)
    return Splits(stack(digits.train, len(digits.train.images), seed=0), test)


def _mnist_binarised(path: Path | None, spec: ImageSpec, download: bool) -> Splits:
    """Grey training images, to be drawn anew at every step, and a fixed draw of the test images."""
    splits = _mnist(path, spec, download)
    return Splits(splits.train, binarised(splits.test) if splits.test else None)


def _folder(
    path: Path | None, spec: ImageSpec, download: bool, *, name: str, licence: str, only: str | None
) -> Splits:
    path = _needed(path, "a folder or zip of images")
    if download:
        raise DataError(f"{name}: --download: only MNIST can be fetched; give --data instead")
    if only is not None or _is_split(path):
        # The usual layout of a released set: train.zip (or train/) beside test.zip.
        path = next((p for p in (path / "train.zip", path / "train") if p.exists()), path)
    return Splits(load_images(path, spec, name=name, licence=licence, only=only))


def _is_split(path: Path) -> bool:
    """Whether a folder holds only splits: `train` beside other names is a class of that name."""
    if not path.is_dir():
        return False
    inside = [p for p in path.iterdir() if not p.name.startswith((".", "__MACOSX"))]
    names = {p.name for p in inside if p.is_dir()} | {p.stem for p in inside if p.suffix == ".zip"}
    return names <= {"train", "test", "val", "valid"}


def _digits(path: Path | None, spec: ImageSpec, download: bool) -> Splits:
    """The 1,797 digits of 8x8 pixels bundled with scikit-learn; every fifth one is held out."""
    from sklearn.datasets import load_digits  # imported late: it is slow and only tests need it

    if spec.shape != (8, 8, 1):
        raise DataError(f"digits: expected images {spec.shape}, found (8, 8, 1)")
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

    return Splits(train=part("digits", ~held_out), test=part("digits-test", held_out))


def _shapes(path: Path | None, spec: ImageSpec, download: bool) -> Splits:
    """Rectangles with known factors, drawn in code."""
    splits = load_shapes()
    if spec.shape != splits.train.images.shape[1:]:
        raise DataError(f"shapes: expected images {spec.shape}, found (32, 32, 1)")
    return splits


def _needed(path: Path | None, what: str) -> Path:
    if path is None:
        raise DataError(f"--data: expected {what}, found nothing")
    return path


_CIFAR10 = (
    "CIFAR-10: Alex Krizhevsky, Vinod Nair and Geoffrey Hinton; published for research "
    "without a stated licence, please cite the report (2009)."
)

Source = Callable[[Path | None, ImageSpec, bool], Splits]

SOURCES: dict[str, Source] = {
    "mnist": _mnist,
    "stacked-mnist": _stacked,
    "mnist-binarised": _mnist_binarised,
    "cifar10": partial(_folder, name="cifar10", licence=_CIFAR10, only=None),
    "cifar10-frogs": partial(_folder, name="cifar10-frogs", licence=_CIFAR10, only="frog"),
    "images": partial(_folder, name="images", licence="as given by the images' owner", only=None),
    "digits": _digits,
    "shapes": _shapes,
}
