"""Folders and zips of images of any size, mode and aspect; sub-folders give the classes."""

import logging
import lzma
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image

from runtime import images as pixels
from runtime.errors import InputError
from runtime.images import ImageSpec
from train.data.dataset import Dataset
from train.errors import DataError

logger = logging.getLogger(__name__)

_MAX_FILE_BYTES = 64_000_000
"""A compressed zip member can unpack to any size; no picture we train on is larger than this."""


_MAX_PIXELS = 200_000_000
"""One's own pictures may be larger than what a server takes from strangers."""


def load_images(
    path: Path, spec: ImageSpec, *, name: str, licence: str, only: str | None = None
) -> Dataset:
    """Read every image under a folder or in a zip, each brought to `spec` by `runtime.images.fit`.

    A top folder that wraps everything is passed through; below it, the first level of folders
    gives the classes in sorted order (no folders: one class, "image"). `only` keeps one class.
    Files that are not readable images are named and counted in the log and left out, other files
    beside the class folders (README.txt) are named.

    Raises DataError where the path is missing, the class is unknown, images lie both beside and
    inside class folders, or no image is readable.
    """
    images, labels, unreadable = [], [], 0
    with _large_pictures(), _open_tree(path) as (files, read):
        by_class = _by_class(path, files)
        if only is not None:
            if only not in by_class:
                raise DataError(
                    f"{path}: expected a folder {only!r}, found {', '.join(by_class) or 'nothing'}"
                )
            by_class = {only: by_class[only]}
        for label, members in enumerate(by_class.values()):
            for file in members:
                try:
                    picture = pixels.open_image(read(file), max_pixels=_MAX_PIXELS)
                    images.append(pixels.fit(picture, spec))
                except (InputError, DataError) as error:
                    unreadable += 1
                    logger.warning("left out %s: %s", file, error)
                else:
                    labels.append(label)
    if unreadable:
        logger.warning(
            "%s: %d of %d files are not readable images and were left out",
            path,
            unreadable,
            unreadable + len(images),
        )
    if not images:
        raise DataError(f"{path}: expected at least one readable image, found none")
    return Dataset(
        name=name,
        images=np.stack(images),
        labels=np.array(labels, dtype=np.int64),
        classes=tuple(by_class),
        licence=licence,
    )


@contextmanager
def _large_pictures() -> Iterator[None]:
    # Pillow's own bound is lower than ours, which `open_image` checks before it decodes.
    before, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        yield
    finally:
        Image.MAX_IMAGE_PIXELS = before


_Tree = tuple[list[PurePosixPath], Callable[[PurePosixPath], bytes]]


@contextmanager
def _open_tree(path: Path) -> Iterator[_Tree]:
    """The files of a folder or zip, sorted, and a function that reads one of them."""
    if path.is_dir():
        found = (PurePosixPath(p.relative_to(path)) for p in path.rglob("*") if p.is_file())
        yield _visible(found), lambda file: _limited(file, path / file)
    elif zipfile.is_zipfile(path):
        with _open_zip(path) as archive:
            members = {PurePosixPath(i.filename): i for i in archive.infolist() if not i.is_dir()}
            yield _visible(members), lambda file: _unpacked(archive, members[file])
    else:
        found_text = "a file that is not a zip" if path.exists() else "nothing"
        raise DataError(f"{path}: expected a folder or a zip of images, found {found_text}")


def _open_zip(path: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except (zipfile.BadZipFile, NotImplementedError, UnicodeDecodeError, OSError) as error:
        raise DataError(f"{path}: expected a complete zip, found {error}") from error


def _visible(files: Iterable[PurePosixPath]) -> list[PurePosixPath]:
    # Desktop systems leave .DS_Store, Thumbs.db and __MACOSX behind.
    return sorted(
        file
        for file in files
        if not any(part.startswith((".", "__MACOSX")) for part in file.parts)
        and file.name != "Thumbs.db"
    )


def _limited(file: PurePosixPath, path: Path) -> bytes:
    try:
        if path.stat().st_size > _MAX_FILE_BYTES:
            raise DataError(f"{file}: expected at most {_MAX_FILE_BYTES} bytes")
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{file}: {error}") from error


_DAMAGED = (
    zipfile.BadZipFile,  # a wrong checksum
    zlib.error,
    lzma.LZMAError,
    UnicodeDecodeError,  # in the member's name
    EOFError,
    RuntimeError,  # an encrypted member; NotImplementedError: an unknown compression
    OSError,
)


def _unpacked(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> bytes:
    if member.file_size > _MAX_FILE_BYTES:
        raise DataError(f"{member.filename}: expected at most {_MAX_FILE_BYTES} bytes")
    try:
        return archive.read(member)
    except _DAMAGED as error:
        raise DataError(f"{member.filename}: {error}") from error


def _by_class(path: Path, files: list[PurePosixPath]) -> dict[str, list[PurePosixPath]]:
    """Files by class name. One folder around everything is a wrapper if it holds folders."""
    depth = 0
    pictures = [file for file in files if _is_picture(file)] or files
    while (
        pictures
        and all(len(file.parts) > depth + 2 for file in pictures)
        and len({file.parts[depth] for file in pictures}) == 1
    ):
        depth += 1
    grouped: dict[str, list[PurePosixPath]] = {}
    for file in files:
        inside = len(file.parts) > depth + 1 and file.parts[:depth] == pictures[0].parts[:depth]
        grouped.setdefault(file.parts[depth] if inside else "", []).append(file)
    if "" in grouped:
        if len(grouped) > 1:
            beside = grouped.pop("")
            loose = [file for file in beside if _is_picture(file)]
            if not loose:
                logger.warning("%s: left out beside the class folders: %s", path, _names(beside))
                return grouped
            raise DataError(
                f"{path}: expected images only inside class folders ({', '.join(grouped)}), "
                f"found {len(loose)} beside them, such as {loose[0]}"
            )
        grouped = {"image": grouped.pop("")}
    return grouped


def _is_picture(file: PurePosixPath) -> bool:
    """By the file's name; its content is checked when it is read."""
    return Image.registered_extensions().get(file.suffix.lower()) in pixels.FORMATS


def _names(files: list[PurePosixPath]) -> str:
    return ", ".join(map(str, files))
