"""The pictures of a tar, as it holds them.

Their keys are those of WebDataset (https://github.com/webdataset/webdataset): the member's folder
and its name up to the first dot.
"""

import tarfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path, PurePosixPath

from runtime.bulk.sources.items import SUFFIXES, Named, Source, text
from runtime.errors import InputError, StorageError
from runtime.images.trees import inside, is_hidden


def tar(path: Path) -> Source:
    """Raises InputError, once its pictures are asked for, where it cannot be read."""
    return Source(_members(path), None)


def _members(path: Path) -> Iterator[Named]:
    """Header after header; the pictures themselves are read by whoever opens them."""
    try:
        with tarfile.open(path, "r:") as archive:
            while (member := archive.next()) is not None:
                archive.members = []  # pyright: ignore[reportAttributeAccessIssue] - it keeps all
                file = inside(member.name)
                is_one = member.isreg() and not member.issparse()
                if not is_one or file is None or is_hidden(file):
                    continue
                if file.suffix.lower() in SUFFIXES:
                    read = partial(_member, path, member.offset_data, member.size)
                    yield text(_sample(file)), text(str(file)), read
    except (tarfile.TarError, OSError, EOFError) as error:
        raise InputError("images", "complete tars that can be read", f"{path} ({error})") from error


def _sample(file: PurePosixPath) -> str:
    """The key of a member: `train/0042.left.png` is of the sample `train/0042`."""
    return str(file.with_name(file.name.partition(".")[0]))


def _member(path: Path, offset: int, size: int, most: int) -> bytes:
    if size > most:
        raise InputError("image", f"at most {most} bytes", f"{size}")
    try:
        with path.open("rb") as file:
            file.seek(offset)
            data = file.read(size)
    except OSError as error:
        raise StorageError(
            "images", "a tar that can be read", f"{path} ({error.strerror})"
        ) from error
    if len(data) < size:
        raise InputError("image", f"{size} bytes in the tar", f"{len(data)}, then its end")
    return data
