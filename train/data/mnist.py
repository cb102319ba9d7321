"""MNIST from its four IDX files, plain or gzip, verified by the MD5 of their content.

Format: http://yann.lecun.com/exdb/mnist (two zero bytes, a type code, the number of axes, each
axis as big-endian uint32, then the values).
"""

import hashlib
import logging
import struct
import urllib.request
import zlib
from collections.abc import Sequence
from http.client import HTTPException
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from runtime.images import ImageSpec
from runtime.writing import write_whole
from train.data.dataset import Dataset, Splits
from train.data.source import Options, needed, source
from train.errors import DataError

logger = logging.getLogger(__name__)

MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
)

CONTENT_MD5 = {
    "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
    "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
    "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
    "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
}
"""MD5 of the uncompressed files: gzip wrappers differ from mirror to mirror."""

LICENCE = (
    "MNIST: Yann LeCun, Corinna Cortes and Christopher J.C. Burges; "
    "Creative Commons Attribution-ShareAlike 3.0."
)

_MAX_CONTENT_BYTES = 100_000_000
_MAX_DOWNLOAD_BYTES = 50_000_000
_TIMEOUT_SECONDS = 30


@source("mnist")
def load(path: Path | None, spec: ImageSpec, options: Options) -> Splits:
    folder = needed(path, "the folder of the four MNIST files")
    if options.download:
        download_mnist(folder, MIRRORS)
    return load_mnist(folder).validated(options.validation)


def load_mnist(folder: Path) -> Splits:
    """Read and verify the four files, each either NAME or NAME.gz.

    Raises DataError that names the missing files, the mirrors and the folder, or the file whose
    content is not the original.
    """
    missing = missing_files(folder)
    if missing:
        raise DataError(
            f"{folder}: expected the four MNIST files, plain or with .gz, missing: "
            f"{', '.join(missing)}. Download each as NAME.gz from {' or '.join(MIRRORS)} "
            f"into that folder, or have the command that trains do that first, by its --download."
        )
    return Splits(train=_split(folder, "train"), test=_split(folder, "t10k"))


def missing_files(folder: Path) -> list[str]:
    """Which of the four files are not in a folder."""
    return [name for name in CONTENT_MD5 if _find(folder, name) is None]


def download_mnist(folder: Path, mirrors: Sequence[str]) -> None:
    """Fetch the files that are missing in `folder`, trying each mirror in turn, and verify them.

    A file is written only after its content's MD5 is right. Raises DataError with every mirror's
    failure where none has a good copy.
    """
    if folder.exists() and not folder.is_dir():
        raise DataError(f"{folder}: expected a folder to download into, found a file")
    folder.mkdir(parents=True, exist_ok=True)
    for name, md5 in CONTENT_MD5.items():
        if _find(folder, name) is not None:
            continue
        failures = []
        for mirror in mirrors:
            url = f"{mirror}{name}.gz"
            try:
                compressed = _fetch(url)
                _verify(url, _gunzip(url, compressed), md5)
            except (OSError, HTTPException, DataError) as error:
                failures.append(f"{url}: {error}")
                continue
            write_whole(folder / f"{name}.gz", compressed)
            logger.info("downloaded %s (%d bytes)", url, len(compressed))
            break
        else:
            raise DataError(f"{name}: no mirror has a good copy. {'; '.join(failures)}")


def parse_idx(content: bytes, source: str) -> NDArray[np.uint8]:
    """One IDX file of unsigned bytes -> array of the shape in its header."""
    if len(content) < 4 or content[:3] != b"\x00\x00\x08":
        raise DataError(
            f"{source}: expected an IDX file of unsigned bytes (00 00 08), "
            f"found {content[:3].hex(' ') or 'nothing'}"
        )
    axes = content[3]
    header = 4 + 4 * axes
    if len(content) < header:
        raise DataError(f"{source}: expected a header of {header} bytes, found {len(content)}")
    shape = struct.unpack(f">{axes}I", content[4:header])
    values = np.frombuffer(content, np.uint8, offset=header)
    size = int(np.prod(shape, dtype=np.uint64))
    if values.size != size:
        raise DataError(
            f"{source}: expected {size} values (shape {list(shape)}), found {values.size}"
        )
    return values.reshape(shape)


def _split(folder: Path, prefix: Literal["train", "t10k"]) -> Dataset:
    images = _read(folder, f"{prefix}-images-idx3-ubyte")
    labels = _read(folder, f"{prefix}-labels-idx1-ubyte")
    return Dataset(
        name="mnist" if prefix == "train" else "mnist-test",
        images=images[..., None],
        labels=labels.astype(np.int64),
        classes=tuple("0123456789"),
        licence=LICENCE,
    )


def _find(folder: Path, name: str) -> Path | None:
    return next((p for p in (folder / name, folder / f"{name}.gz") if p.is_file()), None)


def _read(folder: Path, name: str) -> NDArray[np.uint8]:
    path = _find(folder, name)
    if path is None:
        raise DataError(f"{folder / name}: expected a file, found nothing")
    content = path.read_bytes()
    if path.suffix == ".gz":
        content = _gunzip(str(path), content)
    _verify(str(path), content, CONTENT_MD5[name])
    return parse_idx(content, str(path))


def _gunzip(source: str, compressed: bytes) -> bytes:
    decompressor = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
    try:
        content = decompressor.decompress(compressed, _MAX_CONTENT_BYTES)
    except zlib.error as error:
        raise DataError(f"{source}: expected a gzip file, found {error}") from error
    if not decompressor.eof:
        raise DataError(
            f"{source}: expected a complete gzip file of at most {_MAX_CONTENT_BYTES} bytes, "
            f"found one that is cut short or larger"
        )
    return content


def _verify(source: str, content: bytes, md5: str) -> None:
    found = hashlib.md5(content, usedforsecurity=False).hexdigest()
    if found != md5:
        raise DataError(
            f"{source}: expected content with MD5 {md5}, found {found}: not the original"
        )


def _fetch(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=_TIMEOUT_SECONDS) as reply:  # noqa: S310
        content = reply.read(_MAX_DOWNLOAD_BYTES + 1)
    if len(content) > _MAX_DOWNLOAD_BYTES:
        raise DataError(f"expected at most {_MAX_DOWNLOAD_BYTES} bytes, found more")
    return content
