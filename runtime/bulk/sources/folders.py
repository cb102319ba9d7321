"""The pictures of a folder, with all that is below it, sorted by path."""

import logging
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path, PurePosixPath

from runtime.bulk.sources.items import HOLDS_PICTURES, SUFFIXES, Named, Source, text
from runtime.errors import InputError
from runtime.images.trees import open_tree

logger = logging.getLogger(__name__)

_Read = Callable[[PurePosixPath, int], bytes]


def folder(path: Path) -> Source:
    """Their keys are the paths in it without the suffix; InputError where there are none."""
    with open_tree(path) as tree:
        for file, reason in tree.left_out:
            logger.warning("left out %s: %s", path / file, reason)
        files = [file for file in tree.files if file.suffix.lower() in SUFFIXES]
        if not files:  # of one that holds tars, nothing would be read
            raise InputError("images", HOLDS_PICTURES, f"{path}")
        return Source(named(files, tree.read), len(files))


def named(files: Sequence[PurePosixPath], read: _Read) -> Iterator[Named]:
    """The pictures of these files."""
    for file in files:
        name = text(str(file))
        yield name[: -len(file.suffix)], name, partial(read, file)
