"""Weights in several safetensors files (shards), which an index lists."""

import json
import re
from pathlib import Path

from export.causes import described_error
from runtime.errors import ExportError

_INDEX = re.compile(r"\.safetensors\.index(\.[^.]+)?\.json$")
_SHARD = re.compile(r"-\d+-of-\d+\.safetensors$")


def is_index(file: Path) -> bool:
    """Whether a file lists shards, by its name: `model.safetensors.index.json`."""
    return _INDEX.search(file.name) is not None


def is_shard(file: Path) -> bool:
    """Whether a file is one of several, by its name: `model-00001-of-00002.safetensors`."""
    return _SHARD.search(file.name) is not None


def shards(index: Path) -> dict[str, Path]:
    """The file of each tensor that an index lists. Raises ExportError where it is no index, and for
    a file that is missing or in another folder."""
    try:
        listed = json.loads(index.read_text("utf-8"))["weight_map"]
        found = {str(name): index.with_name(file) for name, file in listed.items()}
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise ExportError(
            f"{index}: expected the index of safetensors files, a JSON object with a weight_map: "
            f"{described_error(error)}"
        ) from error
    for file in sorted(set(found.values())):
        if file.suffix != ".safetensors":
            raise ExportError(f"{index}: expected safetensors files, found {file.name}")
        if not file.is_file():
            raise ExportError(f"{index}: lists {file.name}, which is not beside it: fetch it")
    return found
