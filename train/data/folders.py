"""Sources that are a folder or zip of images: CIFAR-10, its frogs, and the user's own images."""

import logging
from dataclasses import replace
from pathlib import Path

from runtime.images import ImageSpec
from runtime.images.trees import first_few
from train.data.dataset import Splits
from train.data.images import has_images, load_images
from train.data.source import Options, needed, source
from train.errors import DataError

logger = logging.getLogger(__name__)

_CIFAR10 = (
    "CIFAR-10: Alex Krizhevsky, Vinod Nair and Geoffrey Hinton; published for research "
    "without a stated licence, please cite the report (2009)."
)

_CLASSES = frozenset(
    ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
)
_OWN = "as given by the images' owner"
_SPLITS = ("train", "test", "val", "valid")


@source("cifar10")
def load_cifar10(path: Path | None, spec: ImageSpec, options: Options) -> Splits:
    """Other pictures will do, where a recipe takes no labels, and are recorded as what they are."""
    found = _folder(path, spec, options, name="cifar10", licence=_CIFAR10)
    if not (others := sorted(set(found.train.classes) - _CLASSES)):
        return found
    logger.warning(
        "%s: expected the class folders of CIFAR-10, found %s: recorded as pictures of your own",
        path,
        first_few(others),
    )
    train = replace(found.train, name="images", licence=_OWN)
    test = found.test and replace(found.test, name="images-validation", licence=_OWN)
    return replace(found, train=train, test=test)


@source("cifar10-frogs")
def load_frogs(path: Path | None, spec: ImageSpec, options: Options) -> Splits:
    return _folder(path, spec, options, name="cifar10-frogs", licence=_CIFAR10, only="frog")


@source("images")
def load_own(path: Path | None, spec: ImageSpec, options: Options) -> Splits:
    return _folder(path, spec, options, name="images", licence=_OWN)


def _folder(
    path: Path | None,
    spec: ImageSpec,
    options: Options,
    *,
    name: str,
    licence: str,
    only: str | None = None,
) -> Splits:
    path = needed(path, "a folder or zip of images")
    if options.download:
        raise DataError(f"{name}: --download: only MNIST can be fetched; give --data instead")
    if only is not None or _is_split(path):
        # The usual layout of a released set: train.zip (or train/) beside test.zip.
        path = next((p for p in (path / "train.zip", path / "train") if p.exists()), path)
    images = load_images(
        path,
        spec,
        name=name,
        licence=licence,
        only=only,
        labels=options.labels,
        max_pixels=options.max_pixels,
    )
    return Splits(images).validated(options.validation)


def _is_split(path: Path) -> bool:
    """Whether a folder's images are in splits: `train` beside other images is a class of that
    name."""
    if not path.is_dir():
        return False
    inside = [p for p in path.iterdir() if not p.name.startswith((".", "__MACOSX"))]
    inside = [p for p in inside if p.is_dir() or p.suffix == ".zip"]
    splits = [p for p in inside if (p.name if p.is_dir() else p.stem) in _SPLITS]
    # Others may lie beside them, such as annotations.
    others = [p for p in inside if p not in splits]
    return bool(splits) and not any(has_images(p) for p in others)
