"""Folders and zips of images of any size, mode and aspect; sub-folders give the classes."""

import logging
import unicodedata
from collections import defaultdict
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from runtime.errors import InputError
from runtime.images import MAX_PIXELS, ImageSpec, UInt8Array, fit, open_image
from runtime.images.guards import is_picture
from runtime.images.opening import is_named_as_picture, max_file_bytes
from runtime.images.trees import Tree, first_few, open_tree
from runtime.machine import cores
from train.data.dataset import Dataset
from train.data.room import room_for
from train.errors import DataError
from train.layout import FILES, FOLDERS, METRICS, RECORD

logger = logging.getLogger(__name__)

_READERS = 8
"""At most so many pictures are decoded at a time: each takes memory while it is opened."""


def load_images(
    path: Path,
    spec: ImageSpec,
    *,
    name: str,
    licence: str,
    only: str | None = None,
    labels: bool = True,
    max_pixels: int = MAX_PIXELS,
) -> Dataset:
    """Read every image under a folder or in a zip, each brought to `spec` by `runtime.images.fit`.

    A top folder that wraps everything is passed through; below it, the first level of folders with
    images gives the classes in sorted order (no folders: one class, "image"). `only` keeps one
    class. Files that are not readable images, or have more than `max_pixels` pixels, are named and
    counted in the log and left out; so are folders without an image, and files beside the classes.
    Where no `labels` are asked for, images beside class folders count as well (class "image").

    Raises DataError where the path is missing, the class is unknown, labels are asked for and
    images lie both beside and inside class folders, or no image is readable.
    """
    try:
        with open_tree(path) as tree:
            _leave_out_runs(path, tree)
            by_class = _by_class(path, tree, labels, only)
            if tree.empty:
                logger.warning("%s: left out empty folders: %s", path, first_few(tree.empty))
            for file, reason in tree.left_out:
                logger.warning("left out %s: %s", file, reason)
            images, indices = _read(tree, by_class, spec, max_pixels)
            files = len(tree.left_out) + sum(map(len, by_class.values()))
    except InputError as error:
        raise DataError(str(error)) from error
    if len(images) < files:
        logger.warning(
            "%s: %d of %d files are not readable images and were left out",
            path,
            files - len(images),
            files,
        )
    if not len(images):
        raise DataError(f"{path}: expected at least one readable image, found none")
    names = list(by_class)
    kept, numbers = np.unique(indices, return_inverse=True)
    for empty in sorted(set(range(len(names))) - set(kept.tolist())):
        logger.warning("%s: left out %s: no readable image in it", path, names[empty])
    classes = [_text(names[index]) for index in kept]
    _tell_similar(path, classes)
    return Dataset(
        name=name,
        images=images,
        labels=numbers.astype(np.int64),
        classes=tuple(classes),
        licence=licence,
    )


def has_images(path: Path) -> bool:
    """Whether a folder or zip has a file that looks like an image."""
    try:
        with open_tree(path) as tree:
            _leave_out_runs(path, tree)
            return any(_is_picture(tree, file) for file in tree.files)
    except InputError:
        return False


def _leave_out_runs(path: Path, tree: Tree) -> None:
    """Take out what runs with their --out among the pictures have written: their sheets of samples
    would be trained on, and a run that is resumed would find other data than its own."""
    records = {file.parent for file in tree.files if file.name == RECORD}
    for run in sorted(records & {file.parent for file in tree.files if file.name == METRICS}):
        written = {run / name for name in (*FOLDERS, *FILES)}
        tree.files = [f for f in tree.files if written.isdisjoint((f, *f.parents))]
        tree.empty = [f for f in tree.empty if written.isdisjoint((f, *f.parents))]
        logger.info("left out the run of python -m train in %s", path / run)


def _read(
    tree: Tree, by_class: Mapping[str, list[PurePosixPath]], spec: ImageSpec, max_pixels: int
) -> tuple[UInt8Array, NDArray[np.int64]]:
    """The files that are readable images, brought to size, and the number of the class of each."""
    files = [file for members in by_class.values() for file in members]
    classes = np.repeat(np.arange(len(by_class)), [len(m) for m in by_class.values()])
    images = room_for((len(files), *spec.shape))
    kept: list[int] = []
    read = partial(_picture, tree, spec, max_pixels)
    # Pillow decodes without Python's lock. The pictures come back in the order of the files.
    with ThreadPoolExecutor(min(_READERS, cores())) as readers:
        pictures = readers.map(read, files)
        bar = tqdm(pictures, "reading", len(files), unit="picture", leave=False, disable=None)
        for number, picture in enumerate(bar):
            if isinstance(picture, InputError):
                logger.warning("left out %s: %s", files[number], picture)
            else:
                images[len(kept)] = picture
                kept.append(number)
    return images[: len(kept)], classes[kept]


def _picture(
    tree: Tree, spec: ImageSpec, max_pixels: int, file: PurePosixPath
) -> UInt8Array | InputError:
    """One picture brought to size, or why there is none."""
    try:
        data = tree.read(file, max_file_bytes(max_pixels))
        return fit(open_image(data, max_pixels=max_pixels), spec)
    except InputError as error:
        return error


def _by_class(
    path: Path, tree: Tree, labels: bool, only: str | None
) -> dict[str, list[PurePosixPath]]:
    """Files by class name, or those of the class `only`. One folder around everything is a wrapper
    if it holds folders."""
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
    if classes and loose and labels:
        raise DataError(
            f"{path}: expected images only inside class folders ({first_few(classes)}), "
            f"found {len(loose)} beside them, such as {loose[0]}: move these into a class folder, "
            "or train without labels (without --conditional)"
        )
    others = [file for name in beside for file in grouped[name]]
    if classes:
        others += [file for file in grouped[""] if file not in known]
        if not labels and only is None:
            _tell_unlabelled(path, list(classes), len(loose))
        if loose:
            classes["image"] = classes.get("image", []) + loose
    elif loose:
        classes = {"image": grouped[""]}
    if others:
        logger.warning("%s: left out beside the images: %s", path, first_few(sorted(others)))
    if only is None:
        return classes
    if only not in classes:
        found = ", ".join(classes) or "nothing"
        raise DataError(f"{path}: expected a folder {only!r}, found {found}")
    return {only: classes[only]}


def _is_picture(tree: Tree, file: PurePosixPath) -> bool:
    """By its name, or else by its first bytes; all of it is seen when it is read."""
    return is_named_as_picture(file) or is_picture(tree.head(file))


def _tell_unlabelled(path: Path, classes: list[str], loose: int) -> None:
    beside = f", and {loose} images beside them" if loose else ""
    logger.info(
        "%s: images of %d folders (%s)%s are taken together, without labels; --conditional would "
        "make the folders labels",
        path,
        len(classes),
        first_few(classes),
        beside,
    )


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
