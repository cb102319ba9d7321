"""Folders and zips of images of any size, mode and aspect; sub-folders give the classes."""

import logging
import unicodedata
from collections import defaultdict
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image

from runtime.errors import InputError
from runtime.images import FORMATS, MAX_PIXELS, ImageSpec, UInt8Array, fit, open_image
from runtime.images.guards import is_picture
from runtime.images.opening import max_file_bytes
from runtime.images.trees import Tree, first_few, open_tree
from train.data.dataset import Dataset
from train.errors import DataError

logger = logging.getLogger(__name__)


def load_images(
    path: Path,
    spec: ImageSpec,
    *,
    name: str,
    licence: str,
    only: str | None = None,
    max_pixels: int = MAX_PIXELS,
) -> Dataset:
    """Read every image under a folder or in a zip, each brought to `spec` by `runtime.images.fit`.

    A top folder that wraps everything is passed through; below it, the first level of folders with
    images gives the classes in sorted order (no folders: one class, "image"). `only` keeps one
    class. Files that are not readable images, or have more than `max_pixels` pixels, are named and
    counted in the log and left out; so are folders without an image, and files beside the classes.

    Raises DataError where the path is missing, the class is unknown, images lie both beside and
    inside class folders, or no image is readable.
    """
    images: list[UInt8Array] = []
    labels: list[int] = []
    classes: list[str] = []
    try:
        with open_tree(path) as tree:
            by_class = _by_class(path, tree)
            if only is not None:
                if only not in by_class:
                    found = ", ".join(by_class) or "nothing"
                    raise DataError(f"{path}: expected a folder {only!r}, found {found}")
                by_class = {only: by_class[only]}
            if tree.empty:
                logger.warning("%s: left out empty folders: %s", path, first_few(tree.empty))
            unreadable = len(tree.left_out)
            for file, reason in tree.left_out:
                logger.warning("left out %s: %s", file, reason)
            for label, members in by_class.items():
                pictures, failed = _read(tree, members, spec, max_pixels)
                unreadable += failed
                if pictures:
                    images += pictures
                    labels += [len(classes)] * len(pictures)
                    classes.append(_text(label))
                else:
                    logger.warning("%s: left out %s: no readable image in it", path, label)
    except InputError as error:
        raise DataError(str(error)) from error
    if unreadable:
        logger.warning(
            "%s: %d of %d files are not readable images and were left out",
            path,
            unreadable,
            unreadable + len(images),
        )
    if not images:
        raise DataError(f"{path}: expected at least one readable image, found none")
    _tell_similar(path, classes)
    return Dataset(
        name=name,
        images=np.stack(images),
        labels=np.array(labels, dtype=np.int64),
        classes=tuple(classes),
        licence=licence,
    )


def has_images(path: Path) -> bool:
    """Whether a folder or zip has a file that looks like an image."""
    try:
        with open_tree(path) as tree:
            return any(_is_picture(tree, file) for file in tree.files)
    except InputError:
        return False


def _read(
    tree: Tree, files: list[PurePosixPath], spec: ImageSpec, max_pixels: int
) -> tuple[list[UInt8Array], int]:
    """The files that are readable images, brought to size, and the number of the others."""
    images: list[UInt8Array] = []
    for file in files:
        try:
            data = tree.read(file, max_file_bytes(max_pixels))
            images.append(fit(open_image(data, max_pixels=max_pixels), spec))
        except InputError as error:
            logger.warning("left out %s: %s", file, error)
    return images, len(files) - len(images)


def _by_class(path: Path, tree: Tree) -> dict[str, list[PurePosixPath]]:
    """Files by class name. One folder around everything is a wrapper if it holds folders."""
    pictures = [file for file in tree.files if _is_picture(tree, file)] or tree.files
    depth = 0
    while (
        pictures
        and all(len(file.parts) > depth + 2 for file in pictures)
        and len({file.parts[depth] for file in pictures}) == 1
    ):
        depth += 1
    grouped: dict[str, list[PurePosixPath]] = defaultdict(list)
    for file in tree.files:
        inside = len(file.parts) > depth + 1 and file.parts[:depth] == pictures[0].parts[:depth]
        grouped[file.parts[depth] if inside else ""].append(file)
    # Other folders, such as one of annotations, are no classes.
    known = set(pictures)
    beside = {name for name, files in grouped.items() if name and known.isdisjoint(files)}
    loose = [file for file in grouped[""] if file in known]
    classes = {name: grouped[name] for name in grouped if name and name not in beside}
    if classes and loose:
        raise DataError(
            f"{path}: expected images only inside class folders ({first_few(classes)}), "
            f"found {len(loose)} beside them, such as {loose[0]}: move these into a class folder; "
            "for a recipe without labels, move all images into one folder"
        )
    others = [file for name in beside for file in grouped[name]]
    if classes:
        others += grouped[""]
    elif loose:
        classes = {"image": grouped[""]}
    if others:
        logger.warning("%s: left out beside the images: %s", path, first_few(sorted(others)))
    return classes


def _is_picture(tree: Tree, file: PurePosixPath) -> bool:
    """By its name, or else by its first bytes; all of it is seen when it is read."""
    if Image.registered_extensions().get(file.suffix.lower()) in FORMATS:
        return True
    return is_picture(tree.head(file))


def _text(name: str) -> str:
    """A folder's name as text that can be written: its bytes need not be UTF-8."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _tell_similar(path: Path, classes: list[str]) -> None:
    similar: dict[str, list[str]] = defaultdict(list)
    for name in classes:
        similar[unicodedata.normalize("NFC", name).casefold()].append(name)
    for names in similar.values():
        if len(names) > 1:
            logger.warning("%s: %s are classes of their own", path, " and ".join(names))
