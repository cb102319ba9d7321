"""Sources that are a folder or zip of images: CIFAR-10, its frogs, and the user's own images."""

from pathlib import Path

from runtime.images import ImageSpec
from train.data.dataset import Splits
from train.data.images import has_images, load_images
from train.data.source import Options, needed, source
from train.errors import DataError

_CIFAR10 = (
    "CIFAR-10: Alex Krizhevsky, Vinod Nair and Geoffrey Hinton; published for research "
    "without a stated licence, please cite the report (2009)."
)


_SPLITS = ("train", "test", "val", "valid")


@source("cifar10")
def load_cifar10(path: Path | None, spec: ImageSpec, options: Options) -> Splits:
    return _folder(path, spec, options, name="cifar10", licence=_CIFAR10)


@source("cifar10-frogs")
def load_frogs(path: Path | None, spec: ImageSpec, options: Options) -> Splits:
    return _folder(path, spec, options, name="cifar10-frogs", licence=_CIFAR10, only="frog")


@source("images")
def load_own(path: Path | None, spec: ImageSpec, options: Options) -> Splits:
    return _folder(path, spec, options, name="images", licence="as given by the images' owner")


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
