"""The pictures of a Parquet file, row after row.

They are in a column of bytes, or of {bytes, path} as Hugging Face's `datasets` has it. Their keys
are those of the column `key`, else the rows' numbers. Row groups may be as large as the file, so
they are read as a stream, and what was read is kept for those alone who still want it.
"""

from collections.abc import Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from threading import Lock
from typing import Any
from weakref import WeakValueDictionary

from runtime.bulk.packages import pyarrow
from runtime.bulk.sources.items import Named, Source
from runtime.errors import InputError, StorageError

_ROWS = 16
"""Rows that are read together."""
_BUFFER_BYTES = 1 << 20


def parquet(path: Path, column: str | None) -> Source:
    """InputError where it cannot be read, or has no such column of pictures."""
    with _opened(path) as file:
        chosen = _chosen(file.schema_arrow, column, path)
        return Source(_pictures(path, chosen), file.metadata.num_rows)


def _opened(path: Path) -> Any:
    try:
        return pyarrow("parquet").ParquetFile(path, buffer_size=_BUFFER_BYTES, pre_buffer=False)
    except (pyarrow().ArrowException, OSError) as error:
        expected = "complete Parquet files that can be read"
        raise InputError("images", expected, f"{path} ({error})") from error


def _chosen(schema: Any, column: str | None, path: Path) -> str:
    """What to read: a column, or the bytes of one. A single one needs no name."""
    found = {field.name: kind for field in schema if (kind := _bytes_of(field)) is not None}
    name = column
    if name is None:
        name = "image" if "image" in found else next(iter(found), "") if len(found) == 1 else ""
    if name not in found:
        expected = f"a column of pictures of {path.name}: {', '.join(found) or 'it has none'}"
        raise InputError("--column", expected, f"{column or f'none among {schema.names}'}")
    return found[name]


def _bytes_of(field: Any) -> str | None:
    types = pyarrow().types

    def is_bytes(kind: Any) -> bool:
        return types.is_binary(kind) or types.is_large_binary(kind)

    if is_bytes(field.type):
        return field.name
    if types.is_struct(field.type):
        for part in field.type:
            if part.name == "bytes" and is_bytes(part.type):
                return f"{field.name}.bytes"
    return None


def _pictures(path: Path, column: str) -> Iterator[Named]:
    file, first = _File(_opened(path), column), 0
    for number in range(file.opened.num_row_groups):
        count: int = file.opened.metadata.row_group(number).num_rows
        keys, group = file.keys(number), _RowGroup(file, number)
        few = group.few(0)
        for row in range(count):
            if row and row % _ROWS == 0:
                few = group.few(row // _ROWS)
            name = f"{first + row:08d}"
            key: str = (None if keys is None else keys[row].as_py()) or name
            yield key, f"{key}#{name}", partial(few.read, row % _ROWS)
        first += count


class _File:
    def __init__(self, opened: Any, column: str) -> None:
        self.opened, self.column, self.lock = opened, column, Lock()

    def keys(self, group: int) -> Any:
        """The rows' own keys, if they have any."""
        schema = self.opened.schema_arrow
        if "key" not in schema.names or not pyarrow().types.is_string(schema.field("key").type):
            return None
        with self.lock:
            return self.opened.read_row_group(group, ["key"], use_threads=False).column(0)


class _Few:
    """A few rows, which are read when the first of them is wanted."""

    def __init__(self, group: "_RowGroup") -> None:
        self._group = group
        self.values: list[bytes | None] | None = None

    def read(self, row: int, most: int) -> bytes:
        self._group.fill(self)
        values = self.values or []
        value = values[row] if row < len(values) else None
        if value is None:
            raise InputError("image", "bytes in the row", "none")
        if len(value) > most:
            raise InputError("image", f"at most {most} bytes", f"{len(value)}")
        return value


class _RowGroup:
    """The rows of a row group, few after few. Those that nobody wants any more are passed over."""

    def __init__(self, file: _File, number: int) -> None:
        self._file, self._stream, self._next = file, _values(file, number), 0
        self._damage = ""
        self._wanted: WeakValueDictionary[int, _Few] = WeakValueDictionary()

    def few(self, number: int) -> _Few:
        few = self._wanted[number] = _Few(self)
        return few

    def fill(self, few: _Few) -> None:
        """Read up to some rows. InputError for all rows that are behind damage."""
        expected = "a Parquet file that can be read"
        with self._file.lock:
            while few.values is None and not self._damage:
                try:
                    values = list(islice(self._stream, _ROWS))
                except (pyarrow().ArrowException, OSError) as error:
                    if getattr(error, "errno", None) is not None:  # it is not the file's fault
                        raise StorageError("images", expected, str(error)) from error
                    self._damage = str(error) or type(error).__name__
                else:
                    wanted = self._wanted.get(self._next)
                    if wanted is not None:
                        wanted.values = values
                    self._next += 1
            if few.values is None:
                raise InputError("image", expected, self._damage)


def _values(file: _File, group: int) -> Iterator[bytes | None]:
    batches = file.opened.iter_batches(_ROWS, [group], [file.column], use_threads=False)
    for batch in batches:
        array = batch.column(0)
        if "." in file.column:
            array = array.field(0)
        for value in array:
            yield value.as_py()
