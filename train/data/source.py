"""The registry of data sources: each is a function from `--data` to splits, named by `@source`."""

from collections.abc import Callable
from pathlib import Path

from runtime.images import ImageSpec
from train.data.dataset import Splits
from train.errors import DataError

Source = Callable[[Path | None, ImageSpec, bool], Splits]
"""`--data`, the images that the recipe wants, and whether missing files may be downloaded."""

SOURCES: dict[str, Source] = {}
"""Every data source by the name that recipes give."""


def source(name: str) -> Callable[[Source], Source]:
    """Register a function as the data source `name`."""

    def register(read: Source) -> Source:
        SOURCES[name] = read
        return read

    return register


def load(source: str, path: Path | None, spec: ImageSpec, *, download: bool = False) -> Splits:
    """Load the data set `source` from `path`; every image has the size and channels of `spec`.

    Raises DataError where the path is needed and missing, or its content is not as expected.
    """
    splits = SOURCES[source](path, spec, download)
    found = splits.train.images.shape[1:]
    if found != spec.shape:
        raise DataError(f"{source}: expected images {spec.shape}, found {found}")
    return splits


def needed(path: Path | None, what: str) -> Path:
    """`path`, which this source requires; DataError without it."""
    if path is None:
        raise DataError(f"--data: expected {what}, found nothing")
    return path
