"""Read images from files and write them; the suffix of the name chooses the format."""

import json
import re
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from errno import EDQUOT, EFBIG, ENOSPC
from itertools import islice, takewhile
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from runtime.errors import InputError
from runtime.images import ImageSpec, UInt8Array, contact_sheet, fit, open_image
from runtime.images.encoding import (
    PICTURE_FORMATS,
    decode_npy,
    encode_image,
    encode_npz,
    encode_zip,
    npy_header,
)

_PICTURES = {suffix: name for name, kind in PICTURE_FORMATS.items() for suffix in kind.suffixes}
_REQUEST = ".request.json"
OUTPUTS = f"{', '.join(_PICTURES)} (one sheet), .npy, .npz, .zip, or a folder for single PNGs"


def check_output(out: Path) -> None:
    """Raise InputError for a suffix without a format, before any work is done."""
    if out.suffix.lower() not in (*_PICTURES, ".npy", ".npz", ".zip", ""):
        raise InputError("out", f"one of {OUTPUTS}", f"{out.name!r}")


def save_images(
    out: Path,
    batches: Iterable[UInt8Array],
    n: int,
    *,
    columns: int | None = None,
    names: Iterable[str] | None = None,
    arrays: Callable[[], Mapping[str, NDArray[Any]]] | None = None,
    done: int = 0,
) -> None:
    """Write n images that arrive in batches, in order. In a folder, the first `done` images exist
    already, and the batches hold the rest.

    A folder and an `.npy` file are written batch by batch, so memory does not grow with n. `names`
    are the names of single files without suffix (default: the image's number); they are made safe
    and distinct. An `.npz` also holds `arrays()`, beside `images`. A file is complete or absent,
    because it is renamed at the end. Raises InputError if the system cannot write.
    """
    check_output(out)
    distinct = _distinct(names or map(_number, range(n)))
    suffix = out.suffix.lower()
    if suffix == "":
        for name, image in zip(islice(distinct, done, None), _each(batches), strict=True):
            with _renamed(out / f"{name}.png") as file:
                file.write(encode_image(image))
        return
    with _renamed(out) as file:
        if suffix == ".npy":
            _write_npy(file, batches, n)
        elif suffix == ".npz":
            made: dict[str, NDArray[Any]] = {"images": np.concatenate(list(batches))}
            file.write(encode_npz(made | dict(arrays() if arrays is not None else {})))
        elif suffix == ".zip":
            images = zip(distinct, _each(batches), strict=True)
            file.write(encode_zip((f"{name}.png", encode_image(image)) for name, image in images))
        else:
            sheet = contact_sheet(np.concatenate(list(batches)), columns)
            file.write(encode_image(sheet, _PICTURES[suffix]))


def begin_folder(out: Path, asked: Mapping[str, Any], *, resume: bool) -> None:
    """Write into a folder which request (as JSON) its images belong to. With `resume`, an existing
    folder must belong to the same request, else InputError."""
    path, request = out / _REQUEST, json.loads(json.dumps(asked))
    if resume and out.exists():
        try:
            found = json.loads(path.read_bytes())
        except (OSError, ValueError):
            found = None
        if found != request:
            expected = f"a folder of the same request, {request}"
            raise InputError("out", expected, f"{out} of {found or 'an unknown one'}")
    with _renamed(path) as file:
        file.write(json.dumps(request, indent=2).encode())


def count_finished(out: Path, names: Iterable[str]) -> int:
    """How many of the first files exist in a folder that `save_images` was writing. Each file that
    exists is complete."""
    return sum(1 for _ in takewhile(lambda name: (out / f"{name}.png").exists(), _distinct(names)))


def save_arrays(out: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write named arrays as an `.npz` file, which is complete or absent."""
    if out.suffix.lower() != ".npz":
        raise InputError("out", "a file ending in .npz", f"{out.name!r}")
    with _renamed(out) as file:
        file.write(encode_npz(arrays))


def load_images(
    paths: Sequence[Path], spec_of: Callable[[tuple[int, int]], ImageSpec]
) -> tuple[UInt8Array, list[str]]:
    """Read picture files, folders of them, or one `.npy` of the exact size: [n, H, W, C] and names.

    Pictures are cropped and resized as in training (`runtime.images.fit`), to what `spec_of` gives
    for the (height, width) of the first.
    """
    if len(paths) == 1 and paths[0].suffix.lower() == ".npy":
        images = decode_npy(_read(paths[0]), str(paths[0]))
        return images, [_number(i) for i in range(len(images) if images.ndim else 0)]
    files: list[Path] = []
    for path in paths:
        files += sorted(f for f in path.iterdir() if f.is_file()) if path.is_dir() else [path]
    if not files:
        raise InputError("images", "at least one picture", f"none in {[str(p) for p in paths]}")
    first = open_image(files[0])
    spec = spec_of((first.height, first.width))
    images = [fit(first, spec), *(fit(open_image(file), spec) for file in files[1:])]
    return np.stack(images), [file.stem for file in files]


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError("images", "a readable file", f"{path} ({error.strerror})") from None


def _number(i: int) -> str:
    return f"{i:06d}"


def _distinct(names: Iterable[str]) -> Iterator[str]:
    """Safe file names without duplicates: a class may be called "t-shirt/top"."""
    seen: Counter[str] = Counter()
    for name in names:
        safe = re.sub(r"[^\w.-]+", "_", name).lstrip(".") or "_"
        seen[safe] += 1
        yield safe if seen[safe] == 1 else f"{safe}_{seen[safe]}"


def _each(batches: Iterable[UInt8Array]) -> Iterator[UInt8Array]:
    for batch in batches:
        yield from batch


def _write_npy(file: IO[bytes], batches: Iterable[UInt8Array], n: int) -> None:
    for i, batch in enumerate(batches):
        if i == 0:
            file.write(npy_header((n, *batch.shape[1:]), batch.dtype))
        file.write(np.ascontiguousarray(batch).data)


@contextmanager
def _renamed(path: Path) -> Generator[IO[bytes]]:
    """A file that gets its name when it is complete; InputError if it cannot be written."""
    partial = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with partial.open("wb") as file:
                yield file
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
    except OSError as error:
        expected = "a place that can be written"
        if error.errno in (ENOSPC, EDQUOT, EFBIG):
            expected = "room for all images (free some there; files that were finished are whole)"
        raise InputError("out", expected, f"{path} ({error.strerror})") from error
