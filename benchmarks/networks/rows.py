"""All rows, by name. A new family of networks is a module here with a function `rows`."""

from functools import cache
from importlib import import_module
from pathlib import Path

from benchmarks.networks.row import Row


@cache
def found() -> dict[str, Row]:
    """The rows of every module of this room that has any."""
    rows: dict[str, Row] = {}
    for file in sorted(Path(__file__).parent.glob("*.py")):
        module = file.stem
        if "\ndef rows()" in file.read_text():
            rows |= {row.name: row for row in import_module(f"{__package__}.{module}").rows()}
    return rows
