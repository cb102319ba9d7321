"""Tensors and images as Apache Parquet.

An image is a column `image` of {bytes, path}, as Hugging Face's `datasets` has it, whose types are
in the file's metadata; a tensor is a list of fixed length, whose shape is in the metadata of its
field. Bytes follow from the content and the version of pyarrow.
"""

import json
from collections.abc import Generator, Iterable, Mapping, Sequence
from itertools import chain
from typing import IO, Any

from runtime.bulk.formats.columns import Column
from runtime.bulk.formats.records import Record
from runtime.bulk.packages import pyarrow

_GROUP_BYTES = 8 << 20
_GROUP_ROWS = 1024
"""A row group, which is in memory as a whole, has no more of either; an image may be larger."""


def write_tensors(
    file: IO[bytes], columns: Sequence[Column], keys: Sequence[str], about: Mapping[str, str]
) -> None:
    """The keys are the column `key`; `about` is in the file's metadata."""
    arrow = pyarrow()
    fields = [arrow.field("key", arrow.string(), nullable=False)]
    for column in columns:
        kind, shape = arrow.from_numpy_dtype(column.dtype), json.dumps(column.shape[1:])
        if len(column.shape) > 1:
            kind = arrow.list_(kind, column.row_values)
        fields.append(arrow.field(column.name, kind, False, {"shape": shape}))
    schema = arrow.schema(fields, dict(sorted(about.items())))
    rows = max(1, min(_GROUP_ROWS, _GROUP_BYTES // sum(each.row_bytes for each in columns)))
    with _writer(file, schema, compressed=("key",)) as writer:
        for start in range(0, len(keys), rows):
            stop = min(start + rows, len(keys))
            arrays = [arrow.array(keys[start:stop], arrow.string())]
            for column, field in zip(columns, fields[1:], strict=True):
                values = arrow.array(column.values(start, stop))
                if len(column.shape) > 1:
                    values = arrow.FixedSizeListArray.from_arrays(values, type=field.type)
                arrays.append(values)
            writer.write_table(arrow.Table.from_arrays(arrays, schema=schema))


def write_images(file: IO[bytes], records: Iterable[Record]) -> None:
    """A row for each image: `key`, `image`, and a column for each thing that is said of it."""
    arrow = pyarrow()
    records = iter(records)
    first = next(records)
    kinds = {name: type(value) for name, value in first.about.items()}
    image = arrow.struct([("bytes", arrow.binary()), ("path", arrow.string())])
    # All may be null, though none is: `datasets` takes the types of the metadata only then.
    fields = [arrow.field("key", arrow.string()), arrow.field("image", image)]
    for name, kind in kinds.items():
        fields.append(arrow.field(name, arrow.int64() if kind is int else arrow.string()))
    schema = arrow.schema(fields, {"huggingface": json.dumps({"info": _features(kinds)})})
    texts = [name for name, kind in kinds.items() if kind is str]
    with _writer(file, schema, ("key", "image.path", *kinds), texts) as writer:
        for rows in _row_groups(chain([first], records)):
            images = [{"bytes": row.png, "path": f"{row.key}.png"} for row in rows]
            columns = [[row.key for row in rows], images]
            columns += [[row.about[name] for row in rows] for name in kinds]
            writer.write_table(
                arrow.Table.from_arrays(
                    [
                        arrow.array(column, field.type)
                        for column, field in zip(columns, fields, strict=True)
                    ],
                    schema=schema,
                )
            )


def _features(kinds: Mapping[str, type]) -> dict[str, Any]:
    """The columns as `datasets` describes them: so it opens the images by itself."""
    names = {str: "string", int: "int64"}
    rest = {name: {"dtype": names[kind], "_type": "Value"} for name, kind in kinds.items()}
    key = {"dtype": "string", "_type": "Value"}
    return {"features": {"key": key, "image": {"_type": "Image"}, **rest}}


def _row_groups(records: Iterable[Record]) -> Generator[list[Record]]:
    rows: list[Record] = []
    size = 0
    for record in records:
        if rows and (size + len(record.png) > _GROUP_BYTES or len(rows) == _GROUP_ROWS):
            yield rows
            rows, size = [], 0
        rows.append(record)
        size += len(record.png)
    if rows:
        yield rows


def _writer(
    file: IO[bytes], schema: Any, compressed: Sequence[str], texts: Sequence[str] = ()
) -> Any:
    """`compressed`: the columns that are; images are by themselves, and latents cannot be.
    `texts`: columns of few values."""
    return pyarrow("parquet").ParquetWriter(
        file,
        schema,
        compression=dict.fromkeys(compressed, "zstd"),
        use_dictionary=list(texts),
        write_statistics=["key"],
    )
