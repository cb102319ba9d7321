"""Write images into files; the suffix of the name chooses the format."""

import json
import os
import re
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from errno import EDQUOT, EFBIG, ENOSPC
from hashlib import sha256
from itertools import islice, takewhile
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
from numpy.typing import NDArray

from runtime.errors import InputError
from runtime.images import UInt8Array
from runtime.images.animation import encode_animation
from runtime.images.encoding import (
    PICTURE_FORMATS,
    encode_image,
    encode_npz,
    encode_zip,
    npy_header,
)
from runtime.images.layout import Layout, enlarged
from runtime.images.meshes import encode_glb
from runtime.images.trees import is_folder
from runtime.images.volumes import as_picture

_PICTURES = {suffix: name for name, kind in PICTURE_FORMATS.items() for suffix in kind.suffixes}
_ARRAYS = (".npy", ".npz")
_MESHES = ".glb"
REQUEST = ".request.json"
PART = ".part"
"""Behind the name of a file that is not complete."""
_MAX_NAME = 255
"""Bytes of a file's name."""
_MOST_BYTES = 220
"""Of a name that is made here, before its number and its suffix."""
_MOST_SAID = 200
"""Characters of a setting's value in a message."""
_SLASHES = tuple({"/", os.sep})
OUTPUTS = (
    f"{', '.join(_PICTURES)} (one sheet), .gif (one after another), .npy, .npz, .zip, .glb (of "
    "volumes), or a folder for single PNGs (its name without a suffix, or with a slash behind it)"
)


@dataclass(frozen=True)
class Output:
    """Where images go: a file, whose suffix chooses its format, or a folder (`suffix` is "")."""

    path: Path
    suffix: str

    @classmethod
    def at(cls, place: str | Path) -> "Output":
        """A folder if the name has no suffix or ends with a slash, or if it is one already. Raises
        InputError for a suffix without a format, before any work is done."""
        path = Path(place)
        in_folder = str(place).endswith(_SLASHES) or is_folder(path)
        suffix = "" if in_folder else path.suffix.lower()
        if suffix not in (*_PICTURES, ".gif", *_ARRAYS, ".zip", _MESHES, ""):
            raise InputError("out", f"one of {OUTPUTS}", f"{path.name!r}")
        return cls(path, suffix)

    def check_arrays(self) -> None:
        """Raise InputError where named arrays cannot be written."""
        if self.suffix != ".npz":
            raise InputError("out", "a file ending in .npz", f"{str(self.path)!r}")


def save_images(
    out: Output | Path,
    batches: Iterable[UInt8Array],
    n: int,
    *,
    layout: Layout | None = None,
    names: Iterable[str] | None = None,
    arrays: Callable[[], Mapping[str, NDArray[Any]]] | None = None,
    done: int = 0,
) -> None:
    """Write n images that arrive in batches, in order. In a folder, the first `done` images exist
    already, and the batches hold the rest.

    A folder and an `.npy` file are written batch by batch, so memory does not grow with n. `names`
    are the names of single files without suffix (default: the image's number); they are made safe
    and distinct. An `.npz` also holds `arrays()`, beside `images`. A file is complete or absent,
    because it is renamed at the end. Raises InputError if the system cannot write, and for arrays
    that are to be scaled.
    """
    out = Output.at(out) if isinstance(out, Path) else out
    layout = layout or Layout()
    if layout.scale > 1 and out.suffix in (*_ARRAYS, _MESHES):
        raise InputError("scale", "1: only pictures are enlarged", str(layout.scale))
    distinct = _distinct(names or map(numbered, range(n)))
    suffix = out.suffix
    if suffix == "":
        for name, image in zip(islice(distinct, done, None), _each(batches), strict=True):
            with renamed(out.path / f"{name}.png") as file:
                file.write(_picture(image, layout.scale))
        return
    with renamed(out.path) as file:
        if suffix == ".npy":
            _write_npy(file, batches, n)
        elif suffix == ".npz":
            made: dict[str, NDArray[Any]] = {"images": np.concatenate(list(batches))}
            file.write(encode_npz(made | dict(arrays() if arrays is not None else {})))
        elif suffix == ".zip":
            scaled = (_picture(image, layout.scale) for image in _each(batches))
            files = zip((f"{name}.png" for name in distinct), scaled, strict=True)
            file.write(encode_zip(files))
        elif suffix == _MESHES:
            file.write(encode_glb(np.concatenate(list(batches))))
        elif suffix == ".gif":
            file.write(encode_animation(np.concatenate(list(batches)), "gif", layout))
        else:
            sheet = layout.sheet(np.concatenate(list(batches)))
            file.write(encode_image(sheet, _PICTURES[suffix]))


def begin_folder(
    out: Path, asked: Mapping[str, Any], *, resume: bool, name: str | None = None
) -> None:
    """Write into a folder which request (as JSON) its images belong to. With `resume`, an existing
    folder must belong to the same request, else InputError, in which it has the `name`; it is left
    as it is."""
    path, request = out / REQUEST, json.loads(json.dumps(asked))
    if resume and out.exists():
        try:
            found = json.loads(path.read_bytes())
        except (OSError, ValueError):
            found = None
        if found != request:
            where = name or out
            if not isinstance(found, dict):
                raise InputError(
                    "out", "a folder of the same request", f"{where} of an unknown one"
                )
            expected, other = _apart(request, cast(dict[str, Any], found))
            remedy = "another --out, or --force to begin anew"
            raise InputError(
                "out",
                f"a folder of the same request, {expected}: {remedy}",
                f"{where} of {other}",
            )
        return  # when it was written stays to be seen
    with renamed(path) as file:
        file.write(json.dumps(request, indent=2).encode())


def _apart(one: Mapping[str, Any], other: Mapping[str, Any]) -> tuple[str, str]:
    """The settings in which two requests differ, as each of them has it."""
    names = sorted(name for name in {*one, *other} if one.get(name) != other.get(name))
    first, second = (", ".join(_said(n, of.get(n)) for n in names) for of in (one, other))
    return first, second


def _said(name: str, value: object) -> str:
    """A setting in a message; of a long one, such as an artifact's checksums, its name alone."""
    text = json.dumps(value, ensure_ascii=False)
    return f"{name} {text if len(text) <= _MOST_SAID else 'of its own'}"


def count_finished(out: Path, names: Iterable[str]) -> int:
    """How many of the first files are there in a folder that `save_images` was writing."""
    there = takewhile(lambda name: is_finished(out / f"{name}.png"), _distinct(names))
    return sum(1 for _ in there)


def is_finished(path: Path) -> bool:
    """Whether a file is there: it has got its name when it was complete. An empty one is what a
    power cut may leave."""
    return path.exists() and path.stat().st_size > 0


def forget(out: Path, names: Iterable[str]) -> None:
    """Delete the files of these names: images of another request, which `count_finished` would
    take for this one's."""
    with writable(out):
        for name in _distinct(names):
            (out / f"{name}.png").unlink(missing_ok=True)


def save_arrays(out: Output, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write named arrays as an `.npz` file, which is complete or absent."""
    out.check_arrays()
    with renamed(out.path) as file:
        file.write(encode_npz(arrays))


def numbered(i: int) -> str:
    """The name of image i of many that have none."""
    return f"{i:06d}"


class DistinctNames:
    """Names of files, each of which is given once: a, and for another a, a_2, or the next one."""

    def __init__(self) -> None:
        self._asked: Counter[str] = Counter()
        self._given: set[str] = set()

    def of(self, name: str) -> str:
        """The name, with a number behind it where it was given before."""
        found = name
        while True:
            self._asked[name] += 1
            if self._asked[name] > 1:
                found = f"{name}_{self._asked[name]}"
            if found not in self._given:  # as a_2 is, where the next file is called a_2 itself
                self._given.add(found)
                return found


def _distinct(names: Iterable[str]) -> Iterator[str]:
    """Safe file names without duplicates: a class may be called "t-shirt/top"."""
    distinct = DistinctNames()
    for name in names:
        safe = re.sub(r"[^\w.-]+", "_", name).lstrip(".") or "_"
        yield distinct.of(_cut(safe))


def _cut(name: str) -> str:
    """A name that a file can have: of a longer one, as that of a picture deep in a folder, its
    beginning and its end."""
    data = name.encode()
    if len(data) <= _MOST_BYTES:
        return name
    begin, end = data[: _MOST_BYTES // 4], data[-_MOST_BYTES // 2 :]
    return f"{begin.decode(errors='ignore')}_{end.decode(errors='ignore')}"


def _each(batches: Iterable[UInt8Array]) -> Iterator[UInt8Array]:
    for batch in batches:
        yield from batch


def _picture(image: UInt8Array, scale: int) -> bytes:
    """An image, or the picture of a volume, as a PNG."""
    return encode_image(enlarged(as_picture(image), scale))


def _write_npy(file: IO[bytes], batches: Iterable[UInt8Array], n: int) -> None:
    for i, batch in enumerate(batches):
        if i == 0:
            file.write(npy_header((n, *batch.shape[1:]), batch.dtype))
        file.write(np.ascontiguousarray(batch).data)


@contextmanager
def renamed(path: Path) -> Generator[IO[bytes]]:
    """A file that gets its name when it is complete; InputError if it cannot be written."""
    partial = path.with_name(path.name + PART)
    if len(os.fsencode(partial.name)) > _MAX_NAME:
        partial = path.with_name(sha256(os.fsencode(path.name)).hexdigest() + PART)
    with writable(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with partial.open("wb") as file:
                yield file
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)


@contextmanager
def writable(path: Path) -> Generator[None]:
    """What the system raises while a path is written, as InputError."""
    try:
        yield
    except OSError as error:
        expected = "a place that can be written"
        if error.errno in (ENOSPC, EDQUOT, EFBIG):
            expected = "room for all images (free some there; files that were finished are whole)"
        raise InputError("out", expected, f"{path} ({error.strerror})") from error
