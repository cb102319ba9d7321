"""The pictures of a command: single files, folders and zips of them, or one array."""

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL import Image

from runtime.errors import InputError
from runtime.images import MAX_PIXELS, ImageSpec, UInt8Array, fit, open_image, upright_size
from runtime.images.encoding import decode_npy
from runtime.images.files import REQUEST, numbered
from runtime.images.opening import is_named_as_picture, max_file_bytes, read_file
from runtime.images.trees import is_folder, open_tree

T = TypeVar("T")

logger = logging.getLogger(__name__)

_MAX_ARRAY_BYTES = 1 << 40
"""An array is read whole, and is the user's own: the memory is its only limit."""


def load_images(
    paths: Sequence[Path],
    spec_of: Callable[[tuple[int, int]], ImageSpec],
    *,
    max_pixels: int = MAX_PIXELS,
    without: Path | None = None,
) -> tuple[UInt8Array, list[str]]:
    """Read picture files, folders and zips of them, or one `.npy` of the exact size: [n, H, W, C]
    and names.

    Pictures are converted, cropped and resized as in training (`runtime.images.fit`), to what
    `spec_of` gives for the (height, width) of the first. In a folder or zip, with all that is below
    it, files that are no readable pictures are left out, and named and counted in the log. A file
    that was named itself must be one, else InputError. `without`: as for `prepared`.
    """
    if is_array(paths):
        images = decode_npy(read_file(paths[0], _MAX_ARRAY_BYTES), str(paths[0]))
        return images, [numbered(i) for i in range(len(images) if images.ndim else 0)]
    found = _Found(spec_of)
    for _ in prepared(paths, found.add, max_pixels=max_pixels, without=without):
        pass
    if not found.images:
        raise InputError("images", "at least one picture", f"none in {[str(p) for p in paths]}")
    return np.stack(found.images), found.names


def is_array(paths: Sequence[Path]) -> bool:
    """Whether a command's pictures are those of one array."""
    return len(paths) == 1 and paths[0].suffix.lower() == ".npy"


def count_files(paths: Sequence[Path]) -> int:
    """The files that may be pictures: those named, and those in the folders and zips named."""
    count = 0
    for path in paths:
        if _is_tree(path):
            with open_tree(path) as tree:
                count += len(tree.files)
        else:
            count += 1
    return count


def prepared(
    paths: Sequence[Path],
    prepare: Callable[[Image.Image, str], T],
    *,
    max_pixels: int,
    wanted: Callable[[str], bool] = lambda name: True,
    without: Path | None = None,
) -> Iterator[T]:
    """`prepare(picture, name)` of each picture, one at a time. A name is the file's, or its path in
    its folder or zip, without suffix. A picture for which `wanted(name)` is false is not prepared,
    and not even opened where its suffix says that it is one; other files are asked for only when
    they are found to be pictures. What is in the folder `without`, where results go, is none of the
    pictures of a folder around it.

    InputErrors of a file that was named itself are raised; other files are left out, and named and
    counted in the log.
    """
    for path in paths:
        if _is_tree(path):
            yield from _prepared_tree(path, prepare, max_pixels, wanted, without)
        elif wanted(path.stem):
            yield prepare(open_image(path, max_pixels=max_pixels), path.stem)


def _is_tree(path: Path) -> bool:
    return is_folder(path) or path.suffix.lower() == ".zip"


@dataclass
class _Found:
    """The pictures so far. The first one decides the size of all."""

    spec_of: Callable[[tuple[int, int]], ImageSpec]
    spec: ImageSpec | None = None
    images: list[UInt8Array] = field(default_factory=list[UInt8Array])
    names: list[str] = field(default_factory=list[str])

    def add(self, picture: Image.Image, name: str) -> None:
        spec = self.spec or self.spec_of(upright_size(picture))
        self.images.append(fit(picture, spec))
        self.names.append(name)
        self.spec = spec


def _prepared_tree(
    path: Path,
    prepare: Callable[[Image.Image, str], T],
    max_pixels: int,
    wanted: Callable[[str], bool],
    without: Path | None,
) -> Iterator[T]:
    inside = () if without is None else _inside(path, without)
    with open_tree(path) as tree:
        # What a command of ours wrote beside its pictures is no news.
        hidden = [file for file in tree.hidden if file.name != REQUEST]
        left_out = [(str(file), "hidden") for file in hidden]
        left_out += [(str(file), reason) for file, reason in tree.left_out]
        for file in tree.files:
            if inside and file.parts[: len(inside)] == inside:
                continue
            name = str(file.with_suffix(""))
            # What lies beside a picture (`0001.json`) must not take its name and number.
            is_named_so = is_named_as_picture(file)
            if is_named_so and not wanted(name):
                continue
            try:
                data = tree.read(file, max_file_bytes(max_pixels))
                opened = open_image(data, max_pixels=max_pixels)
                if not is_named_so and not wanted(name):
                    continue
                made = prepare(opened, name)
            except InputError as error:
                if error.field != "image":  # not about this file
                    raise
                left_out.append((str(file), str(error)))
                continue
            yield made
        for name, reason in left_out:
            logger.warning("left out %s: %s", name, reason)
        if left_out:
            count = len(tree.files) + len(hidden) + len(tree.left_out)
            logger.warning("%s: %d of %d files were left out", path, len(left_out), count)


def _inside(folder: Path, other: Path) -> tuple[str, ...]:
    """Where another folder lies in a folder; empty where it does not."""
    try:
        return other.resolve().relative_to(folder.resolve()).parts
    except ValueError:
        return ()
