"""The files of a folder or zip of pictures, for training and for the command line.

Nothing is unpacked to the disk: the names in a zip only group and name its pictures.
"""

import lzma
import os
import posixpath
import re
import stat
import zipfile
import zlib
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from runtime.errors import InputError
from runtime.images.guards import HEAD_BYTES
from runtime.images.opening import read_file


@dataclass
class Tree:
    """A folder or zip: its files by their path in it, in order, and what is not read.

    `hidden`: what desktop systems and tools leave behind (.DS_Store, __MACOSX, .git).
    `left_out`: what is no file, with the reason, such as a link to nothing.
    `empty`: folders with nothing in them.
    """

    read: Callable[[PurePosixPath, int], bytes]
    """The bytes of a file of at most so many; InputError where it cannot be read."""
    head: Callable[[PurePosixPath], bytes]
    """The first bytes of a file; none where it cannot be read."""
    files: list[PurePosixPath] = field(default_factory=list[PurePosixPath])
    hidden: list[PurePosixPath] = field(default_factory=list[PurePosixPath])
    empty: list[PurePosixPath] = field(default_factory=list[PurePosixPath])
    left_out: list[tuple[PurePosixPath, str]] = field(
        default_factory=list[tuple[PurePosixPath, str]]
    )


@contextmanager
def open_tree(path: Path) -> Generator[Tree]:
    """The tree of a folder or zip. InputError, whose field is the path, for anything else."""
    if is_folder(path):
        yield _folder(path)
    elif stat.S_ISREG(_mode(path)) and zipfile.is_zipfile(path):
        with _open_zip(path) as archive:
            yield _zip(archive)
    else:
        found = "a file that is not a zip" if _mode(path) else "nothing"
        raise InputError(str(path), "a folder or a zip of images", found)


def is_folder(path: Path) -> bool:
    """Whether a path is a folder."""
    return stat.S_ISDIR(_mode(path))


def _mode(path: Path) -> int:
    """What a path is; 0 for nothing, and where it cannot be told: a name may be too long."""
    try:
        return path.stat().st_mode
    except (OSError, ValueError):
        return 0


def first_few(names: Iterable[object], few: int = 8) -> str:
    """Names for a message, which is to stay short."""
    listed = [str(name) for name in names]
    more = f", and {len(listed) - few} more" if len(listed) > few else ""
    return ", ".join(listed[:few]) + more


def is_hidden(file: PurePosixPath) -> bool:
    """Whether a file is what desktop systems and tools leave behind."""
    litter = file.name.lower() in ("thumbs.db", "desktop.ini")
    return litter or any(part.startswith((".", "__MACOSX")) for part in file.parts)


def _folder(root: Path) -> Tree:
    tree = Tree(
        lambda file, most: read_file(root / file, most), lambda file: _file_head(root / file)
    )
    entered: set[tuple[int, int]] = set()
    _walk(root, PurePosixPath(), tree, (), entered)
    tree.files.sort()
    return tree


def _walk(
    folder: Path,
    inside: PurePosixPath,
    tree: Tree,
    above: tuple[tuple[int, int], ...],
    entered: set[tuple[int, int]],
) -> None:
    """Add the files below a folder. A link to a folder is followed, but not into a folder that it
    lies in, nor twice into one: so every folder comes to an end."""
    try:
        here = _identity(folder.stat())
        paths = sorted(folder.iterdir())
    except OSError as error:
        tree.left_out.append((inside, f"a folder that cannot be read ({error.strerror})"))
        return
    above = (*above, here)
    if not paths and above[1:]:
        tree.empty.append(inside)
    for path in paths:
        file = inside / path.name
        if is_hidden(PurePosixPath(path.name)):
            tree.hidden.append(file)
            continue
        try:
            found = path.stat()
        except OSError as error:
            reason = "a link to nothing" if path.is_symlink() else f"{error.strerror}"
            tree.left_out.append((file, reason))
            continue
        if stat.S_ISREG(found.st_mode):
            tree.files.append(file)
        elif not stat.S_ISDIR(found.st_mode):
            tree.left_out.append((file, "no regular file"))
        elif _identity(found) in above:
            tree.left_out.append((file, "a link to a folder that it lies in"))
        elif path.is_symlink() and _identity(found) in entered:
            tree.left_out.append((file, "another link to a folder that was read"))
        else:
            if path.is_symlink():
                entered.add(_identity(found))
            _walk(path, file, tree, above, entered)


def _identity(found: os.stat_result) -> tuple[int, int]:
    return found.st_dev, found.st_ino


def _file_head(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(HEAD_BYTES)
    except OSError:
        return b""


def _open_zip(path: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except (zipfile.BadZipFile, NotImplementedError, UnicodeDecodeError, OSError) as error:
        raise InputError(str(path), "a complete zip", str(error)) from error


def _zip(archive: zipfile.ZipFile) -> Tree:
    members: dict[PurePosixPath, zipfile.ZipInfo] = {}
    tree = Tree(
        lambda file, most: _unpacked(archive, members[file], most),
        lambda file: _member_head(archive, members[file]),
    )
    folders: set[PurePosixPath] = set()
    for member in archive.infolist():
        name = inside(member.filename)
        if name is None:
            continue
        if member.filename.endswith(("/", "\\")):
            folders.add(name)
            continue
        if is_hidden(name):
            tree.hidden.append(name)
            continue
        if name in members:  # unpacking would keep the last as well
            tree.left_out.append((name, "an earlier file of the same name"))
        members[name] = member
    tree.files = sorted(members)
    full = {folder for name in [*members, *folders] for folder in name.parents}
    tree.empty = sorted(name for name in folders - full if not is_hidden(name))
    return tree


def inside(name: str) -> PurePosixPath | None:
    """The path of an archive's member, however it was written: `cat\\1.png` (Windows),
    `/cat/1.png`, `C:\\cat\\1.png`, `./cat/1.png` and `../cat/1.png` are all `cat/1.png`."""
    name = re.sub(r"^[A-Za-z]:", "", name.replace("\\", "/"))
    relative = posixpath.normpath(f"/{name}").lstrip("/")
    return PurePosixPath(relative) if relative else None


_DAMAGED = (
    zipfile.BadZipFile,  # a wrong checksum
    zlib.error,
    lzma.LZMAError,
    UnicodeDecodeError,  # in the member's name
    EOFError,
    RuntimeError,  # an encrypted member; NotImplementedError: an unknown compression
    OSError,
    ValueError,  # a size or place that is none
)


def _unpacked(archive: zipfile.ZipFile, member: zipfile.ZipInfo, most: int) -> bytes:
    # A small member can be unpacked to any size.
    if member.file_size > most:
        raise InputError("image", f"at most {most} bytes", f"{member.file_size}")
    try:
        return archive.read(member)
    except _DAMAGED as error:
        raise InputError("image", "a sound member of the zip", str(error)) from error


def _member_head(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> bytes:
    try:
        with archive.open(member) as file:
            return file.read(HEAD_BYTES)
    except _DAMAGED:
        return b""
