"""What every benchmark ends with: a table, and a JSON file that says where it ran."""

import json
import math
import platform
import shlex
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

from runtime.machine import cores, cpu_model, installed_version

_LIBRARIES = (
    *("numpy", "scipy", "torch", "onnx", "onnxruntime", "openvino", "bentoml", "pillow", "deflate"),
    *("uvicorn", "uvloop", "httptools", "litserve"),
    *("onnxruntime-gpu", "tensorrt-cu13", "tensorrt-rtx-cu13-bindings", "cuda-bindings"),
)


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Aligned columns, the first to the left, the others to the right; floats to 4 digits."""
    cells = [list(header), *([_cell(value) for value in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = [
        "  ".join(
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in cells
    ]
    lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(lines)


def markdown(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """The same for a page: a Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def _cell(value: object) -> str:
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def command() -> str:
    """What this process was started by, as a reader would type it."""
    return shlex.join(["python", "-m", "benchmarks", *sys.argv[1:]])


def environment() -> dict[str, Any]:
    """Processor, cores this process may use, Python and library versions, time (UTC)."""
    found = {library: installed_version(library) for library in _LIBRARIES}
    versions = {library: version for library, version in found.items() if version}
    return {
        "cpu": cpu_model(),
        "cores": cores(),
        "python": platform.python_version(),
        "versions": versions,
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def write_json(
    path: Path | None,
    benchmark: str,
    figures: Mapping[str, Any],
    subject: Mapping[str, Any] | None = None,
) -> None:
    """Write the figures with their environment and `subject`, what was measured against what;
    nothing without a path."""
    if path is None:
        return
    record = {
        "benchmark": benchmark,
        "command": command(),
        "environment": environment(),
        "subject": dict(subject or {}),
        "figures": dict(figures),
    }
    path.write_text(json.dumps(_finite(record), indent=2, allow_nan=False) + "\n")


def _finite(value: Any) -> Any:
    """JSON without numbers that it cannot say: one such figure must not lose hours of others."""
    if isinstance(value, Mapping):
        return {name: _finite(each) for name, each in cast(Mapping[str, Any], value).items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in cast(Sequence[Any], value)]
    return None if isinstance(value, float) and not math.isfinite(value) else value
