"""The registry of data sources: each is a function from `--data` to splits, named by `@source`."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from runtime.images import MAX_PIXELS, ImageSpec
from train.data.dataset import Splits
from train.errors import DataError


@dataclass(frozen=True)
class Options:
    """How a source may read: whether missing files may be downloaded, the pixels of the largest
    picture that is opened, whether the labels are used, and how many training images take the
    place of the test images (`Splits.validated`)."""

    download: bool = False
    max_pixels: int = MAX_PIXELS
    labels: bool = True
    validation: int = 0


Source = Callable[[Path | None, ImageSpec, Options], Splits]
"""`--data`, the images that the recipe wants, and how they may be read."""

SOURCES: dict[str, Source] = {}
"""Every data source by the name that recipes give."""


MADE: set[str] = set()
"""Those of them that read no files."""


def source(name: str, *, files: bool = True) -> Callable[[Source], Source]:
    """Register a function as the data source `name`, which reads `files` or does without."""

    def register(read: Source) -> Source:
        SOURCES[name] = read
        if not files:
            MADE.add(name)
        return read

    return register


def load(
    source: str,
    path: Path | None,
    spec: ImageSpec,
    *,
    download: bool = False,
    max_pixels: int = MAX_PIXELS,
    labels: bool = True,
    validation: int = 0,
) -> Splits:
    """Load the data set `source` from `path`; every image has the size and channels of `spec`.
    Without `labels`, a folder may hold images beside its class folders. With `validation`, so many
    training images are held out in the place of the test images.

    Raises DataError where the path is needed and missing, or its content is not as expected.
    """
    splits = SOURCES[source](path, spec, Options(download, max_pixels, labels, validation))
    if validation and splits.held_out != "validation":
        raise DataError(f"{source}: validation: expected 0, this source holds no images out for it")
    found = splits.train.images.shape[1:]
    if found != spec.shape:
        raise DataError(f"{source}: expected images {spec.shape}, found {found}")
    return splits


def expect_files(source: str, path: Path | None, *, download: bool = False) -> None:
    """DataError where files are given, or asked for, of a source that reads none: it would train on
    other pictures than were meant."""
    if source not in MADE:
        return
    if path is not None:
        raise DataError(
            f"--data: expected none for {source}, which needs no files; found {path}: images_gan "
            "and images_vae train on pictures of your own"
        )
    if download:
        raise DataError(f"--download: expected none for {source}, which needs no files")


def needed(path: Path | None, what: str) -> Path:
    """`path`, which this source requires; DataError without it."""
    if path is None:
        raise DataError(f"--data: expected {what}, found nothing")
    return path
