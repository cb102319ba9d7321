"""Tensors as safetensors: https://github.com/huggingface/safetensors#format."""

import json
from collections.abc import Mapping, Sequence
from typing import IO, Any

from runtime.bulk.formats.columns import Column

_KINDS = {"uint8": "U8", "int32": "I32", "int64": "I64", "float16": "F16", "float32": "F32"}
"""numpy's name of a type -> that of safetensors."""


def write_tensors(
    file: IO[bytes], columns: Sequence[Column], keys: Sequence[str], about: Mapping[str, str]
) -> None:
    """The header's length, 8 bytes little-endian; the header, JSON, filled with spaces; the values
    without a gap. The keys are a JSON list in the metadata, under `keys`, beside `about`."""
    metadata = {**about, "keys": json.dumps(list(keys))}
    header: dict[str, Any] = {"__metadata__": dict(sorted(metadata.items()))}
    end = 0
    for column in columns:
        start, end = end, end + column.size
        header[column.name] = {
            "dtype": _KINDS[column.dtype.name],
            "shape": column.shape,
            "data_offsets": [start, end],
        }
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    file.write(len(text).to_bytes(8, "little") + text)
    for column in columns:
        column.copy(file)
