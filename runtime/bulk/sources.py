"""Where the pictures of a bulk job come from: folders, with all that is below them, and tars.

A picture has a number, its place in the order of all, and a key, which no other one has. A tar's
keys are those of WebDataset (https://github.com/webdataset/webdataset): the member's folder and its
name up to the first dot. A folder's keys are the paths in it without the suffix.
"""

import hashlib
import logging
import tarfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path, PurePosixPath

from runtime.errors import InputError
from runtime.images.trees import first_few, inside, is_folder, is_hidden, open_tree

logger = logging.getLogger(__name__)

SUFFIXES = frozenset(
    {".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff"}
    | {".ppm", ".pgm", ".pbm", ".pnm"}
)
"""Files with other names (captions, labels) are passed over."""

_Named = tuple[str, str, Callable[[int], bytes]]
"""A key, the full name, which is the key where another picture has that one, and `Item.read`."""
_Read = Callable[[PurePosixPath, int], bytes]


@dataclass(frozen=True, slots=True)
class Item:
    """A picture that is not read yet."""

    number: int
    key: str
    read: Callable[[int], bytes]
    """The bytes of a file of at most so many; InputError where it cannot be read. Any thread may
    call it, at any time."""


@dataclass(frozen=True)
class Found:
    """The pictures of a job, and how many there are, where that is known before they are read."""

    items: Iterator[Item]
    total: int | None


def find(paths: Sequence[Path]) -> Found:
    """The pictures of folders and tars, always in the same order: of one after the other, a
    folder's sorted by path, a tar's as it holds them.

    Of several sources each has its name before its keys: `train-00001/0042`. Where a key comes
    again (`a.jpg` and `a.png`, or several pictures of a WebDataset sample), the later picture has
    its full name as key, with a number behind it if that is taken too. Only the keys of one source
    are in memory, as 8 bytes each. Raises InputError for anything but a folder or a tar.
    """
    names = [path.resolve().name.removesuffix(".tar") for path in paths]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InputError(
            "images", "folders and tars of distinct names", f"{first_few(twice)} twice"
        )
    folders = {path: _files(path) for path in paths if is_folder(path)}
    opened = [_folder(*folders[p]) if p in folders else _tar(p) for p in paths]
    every = len(folders) == len(paths)
    total = sum(len(files) for files, _ in folders.values()) if every else None
    prefixes = [f"{name}/" if len(names) > 1 else "" for name in names]
    return Found(_numbered(opened, prefixes), total)


def _numbered(opened: Iterable[Iterator[_Named]], prefixes: Iterable[str]) -> Iterator[Item]:
    number = count()
    for source, prefix in zip(opened, prefixes, strict=True):
        seen: set[int] = set()
        for key, name, read in source:
            for candidate in _candidates(key, name):
                digest = hashlib.blake2b(candidate.encode(), digest_size=8).digest()
                mark = int.from_bytes(digest, "little")
                if mark not in seen:
                    seen.add(mark)
                    yield Item(next(number), prefix + candidate, read)
                    break


def _candidates(key: str, name: str) -> Iterator[str]:
    yield key
    yield name
    for i in count(2):
        yield f"{name}#{i}"


def _files(root: Path) -> tuple[list[PurePosixPath], _Read]:
    with open_tree(root) as tree:
        for file, reason in tree.left_out:
            logger.warning("left out %s: %s", root / file, reason)
        return [file for file in tree.files if file.suffix.lower() in SUFFIXES], tree.read


def _folder(files: Sequence[PurePosixPath], read: _Read) -> Iterator[_Named]:
    for file in files:
        name = _text(str(file))
        yield name[: -len(file.suffix)], name, partial(read, file)


def _tar(path: Path) -> Iterator[_Named]:
    if path.suffix.lower() != ".tar" or not path.is_file():
        expected = "folders and plain .tar files (unpack a .tar.gz with gunzip)"
        raise InputError(
            "images", expected, f"{path}{'' if path.exists() else ', which is not there'}"
        )
    return _members(path)


def _members(path: Path) -> Iterator[_Named]:
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
                    yield _text(_sample(file)), _text(str(file)), read
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
        raise InputError("image", "a readable tar", f"{path} ({error.strerror})") from error
    if len(data) < size:
        raise InputError("image", f"{size} bytes in the tar", f"{len(data)}, then its end")
    return data


def _text(name: str) -> str:
    """A name as Unicode that every format can hold; bytes that are none are written out."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
