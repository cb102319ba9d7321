"""The rows of a group that is not complete yet, on the disk: a killed run goes on from them.

A folder with one file a tensor and bucket, `512x768.mean`, to which every chunk adds its rows, and
a journal, of which every line stands for a chunk whose rows are all there, or for a skipped
picture. Rows may be of various lengths: files, as arrays of `object` that hold bytes.
"""

import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import accumulate
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtime.bulk.buckets import Bucket
from runtime.bulk.formats.columns import Column
from runtime.bulk.pictures import Row, Skipped
from runtime.errors import InputError
from runtime.images.files import writable

_JOURNAL = "journal.jsonl"
_FILES = "object"


@dataclass(frozen=True)
class Tensor:
    """One row of an output."""

    dtype: str
    shape: tuple[int, ...]

    @property
    def bytes(self) -> int:
        return np.dtype(self.dtype).itemsize * prod(self.shape)


@dataclass
class Shelf:
    """The rows of one bucket, what each of them has, and how many ran together."""

    tensors: dict[str, Tensor]
    chunk_size: int
    rows: list[Row] = field(default_factory=list[Row])
    lengths: list[int] = field(default_factory=list[int])
    """Of each row's file, where there are files."""

    def size(self, tensor: Tensor) -> int:
        """The bytes of all rows."""
        return sum(self.lengths) if tensor.dtype == _FILES else len(self.rows) * tensor.bytes


class Spool:
    """One group's rows. Opening it takes up what an earlier run left: whole chunks."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.shelves: dict[Bucket, Shelf] = {}
        self.skipped: list[Skipped] = []
        with writable(folder):
            folder.mkdir(parents=True, exist_ok=True)
            end = self._read()
            if end is None:  # after a power cut, say
                shutil.rmtree(folder)
                folder.mkdir()
                end = 0
            self._journal = (folder / _JOURNAL).open("ab")
            os.truncate(folder / _JOURNAL, end)
        rows = (row for shelf in self.shelves.values() for row in shelf.rows)
        self.known = {each.number: each.key for each in (*rows, *self.skipped)}
        """Number -> key of all pictures that an earlier run has a row of, or has skipped."""

    def skip(self, skipped: Skipped) -> None:
        """Keep a picture that no chunk had."""
        self._write({"skipped": [_listed(skipped)]})

    def add(
        self,
        bucket: Bucket,
        rows: list[Row],
        arrays: Mapping[str, NDArray[Any]],
        skipped: list[Skipped],
        chunk_size: int,
    ) -> None:
        """Keep the rows of a chunk, arrays [len(rows), ...], and those of its pictures that gave
        none. InputError where the disk is full."""
        tensors = {n: Tensor(a.dtype.name, a.shape[1:]) for n, a in arrays.items()}
        with writable(self._folder):
            for name, array in arrays.items():
                with self._file(bucket, name).open("ab") as file:
                    is_files = array.dtype == object
                    file.write(b"".join(array) if is_files else np.ascontiguousarray(array).data)
        line: dict[str, Any] = {"skipped": [_listed(each) for each in skipped]}
        if rows:
            line |= {
                "bucket": bucket,
                "chunk_size": chunk_size,
                "rows": [_listed(row) for row in rows],
                "tensors": {name: _listed(tensor) for name, tensor in tensors.items()},
                "lengths": [len(f) for a in arrays.values() if a.dtype == object for f in a],
            }
        self._write(line)

    def _write(self, line: Mapping[str, Any]) -> None:
        with writable(self._folder):
            self._journal.write(json.dumps(line).encode() + b"\n")
            self._journal.flush()
        self._note(line)

    def columns(self, bucket: Bucket) -> Iterable[Column]:
        """All columns of a bucket's shard."""
        shelf = self.shelves[bucket]
        for name, tensor in shelf.tensors.items():
            shape = (len(shelf.rows), *tensor.shape)
            yield Column(name, np.dtype(tensor.dtype), shape, self._file(bucket, name))
        yield Column.of("size", np.array([row.size for row in shelf.rows], np.int32))
        yield Column.of("crop", np.array([row.crop for row in shelf.rows], np.float32))

    def files(self, name: str) -> Iterator[tuple[Row, bytes]]:
        """The rows of all buckets that have files of this name, in order, each with its file."""
        found: list[tuple[Row, Bucket, int, int]] = []
        for bucket, shelf in self.shelves.items():
            ends = accumulate(shelf.lengths)
            for row, length, end in zip(shelf.rows, shelf.lengths, ends, strict=True):
                found.append((row, bucket, end - length, length))
        for row, bucket, start, length in sorted(found, key=lambda each: each[0].number):
            with self._file(bucket, name).open("rb") as file:
                file.seek(start)
                yield row, file.read(length)

    def remove(self) -> None:
        """Delete it: the group is in its shards."""
        shutil.rmtree(self._folder)

    def close(self) -> None:
        """Add nothing more."""
        self._journal.close()

    def _file(self, bucket: Bucket, name: str) -> Path:
        return self._folder / f"{bucket[0]}x{bucket[1]}.{name}"

    def _read(self) -> int | None:
        """Take up the journal's lines and cut off what was written after the last of them; where
        it ends. None where rows are missing."""
        path, end = self._folder / _JOURNAL, 0
        if not path.exists():
            return None if any(self._folder.iterdir()) else 0
        try:
            for line in path.read_bytes().splitlines(keepends=True):
                if line.endswith(b"\n"):
                    self._note(json.loads(line))
                    end += len(line)
            for bucket, shelf in self.shelves.items():
                for name, tensor in shelf.tensors.items():
                    file, wanted = self._file(bucket, name), shelf.size(tensor)
                    if file.stat().st_size < wanted:
                        raise ValueError(f"{file} is cut short")
                    os.truncate(file, wanted)
            kept = {self._file(b, n) for b, s in self.shelves.items() for n in s.tensors} | {path}
            for file in self._folder.iterdir():
                if file not in kept:  # of a chunk that was the first of its bucket
                    file.unlink()
        except (ValueError, KeyError, TypeError, FileNotFoundError):
            self.shelves, self.skipped = {}, []
            return None
        return end

    def _note(self, line: Mapping[str, Any]) -> None:
        self.skipped += [Skipped(*each) for each in line["skipped"]]
        if "bucket" not in line:
            return
        height, width = line["bucket"]
        tensors = {n: Tensor(d, tuple(shape)) for n, (d, shape) in line["tensors"].items()}
        shelf = self.shelves.setdefault((height, width), Shelf(tensors, line["chunk_size"]))
        if shelf.tensors != tensors:
            raise InputError("out", f"rows of {shelf.tensors}", f"{tensors} in {self._folder}")
        for number, key, size, crop in line["rows"]:
            shelf.rows.append(Row(number, key, tuple(size), tuple(crop)))
        shelf.lengths += line["lengths"]


def _listed(each: Row | Skipped | Tensor) -> list[Any]:
    return [getattr(each, name) for name in each.__dataclass_fields__]
