"""The pictures of a command: single files, folders and zips of them, or one array."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from runtime.errors import InputError
from runtime.images import MAX_PIXELS, ImageSpec, UInt8Array, fit, open_image, upright_size
from runtime.images.encoding import decode_npy
from runtime.images.files import numbered
from runtime.images.opening import max_file_bytes, read_file
from runtime.images.trees import is_folder, open_tree

logger = logging.getLogger(__name__)

_MAX_ARRAY_BYTES = 1 << 40
"""An array is read whole, and is the user's own: the memory is its only limit."""


def load_images(
    paths: Sequence[Path],
    spec_of: Callable[[tuple[int, int]], ImageSpec],
    *,
    max_pixels: int = MAX_PIXELS,
) -> tuple[UInt8Array, list[str]]:
    """Read picture files, folders and zips of them, or one `.npy` of the exact size: [n, H, W, C]
    and names.

    Pictures are converted, cropped and resized as in training (`runtime.images.fit`), to what
    `spec_of` gives for the (height, width) of the first. In a folder or zip, with all that is below
    it, files that are no readable pictures are left out, and named and counted in the log. A file
    that was named itself must be one, else InputError.
    """
    if len(paths) == 1 and paths[0].suffix.lower() == ".npy":
        images = decode_npy(read_file(paths[0], _MAX_ARRAY_BYTES), str(paths[0]))
        return images, [numbered(i) for i in range(len(images) if images.ndim else 0)]
    found = _Found(spec_of)
    for path in paths:
        if is_folder(path) or path.suffix.lower() == ".zip":
            _add_tree(found, path, max_pixels)
        else:
            found.add(open_image(path, max_pixels=max_pixels), path.stem)
    if not found.images:
        raise InputError("images", "at least one picture", f"none in {[str(p) for p in paths]}")
    return np.stack(found.images), found.names


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


def _add_tree(found: _Found, path: Path, max_pixels: int) -> None:
    with open_tree(path) as tree:
        left_out = [(str(file), "hidden") for file in tree.hidden]
        left_out += [(str(file), reason) for file, reason in tree.left_out]
        for file in tree.files:
            try:
                data = tree.read(file, max_file_bytes(max_pixels))
                found.add(open_image(data, max_pixels=max_pixels), str(file.with_suffix("")))
            except InputError as error:
                if error.field != "image":  # not about this file
                    raise
                left_out.append((str(file), str(error)))
        for name, reason in left_out:
            logger.warning("left out %s: %s", name, reason)
        if left_out:
            count = len(tree.files) + len(tree.hidden) + len(tree.left_out)
            logger.warning("%s: %d of %d files were left out", path, len(left_out), count)
