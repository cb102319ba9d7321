"""`python -m benchmarks NAME …`: one module a benchmark, imported only when it is run."""

import argparse
import ast
import importlib
import logging
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.errors import UnfitError
from runtime.errors import LatentServeError
from train.errors import TrainError

ROOMS = ("speed", "networks", "quality", "results", "gpu")


@dataclass(frozen=True)
class Benchmark:
    """A module of one of the rooms with a `main(arguments)`."""

    module: str
    description: str
    """The first line of its docstring."""


def found() -> dict[str, Benchmark]:
    """Module's name -> benchmark. The files are parsed, not imported: some need torch."""
    benchmarks: dict[str, Benchmark] = {}
    for room in ROOMS:
        for path in sorted((Path(__file__).parent / room).glob("*.py")):
            tree = ast.parse(path.read_text())
            if any(isinstance(node, ast.FunctionDef) and node.name == "main" for node in tree.body):
                description = (ast.get_docstring(tree) or "").partition("\n")[0]
                benchmarks[path.stem] = Benchmark(f"benchmarks.{room}.{path.stem}", description)
    return dict(sorted(benchmarks.items()))


def main(arguments: Sequence[str] | None = None) -> None:
    benchmarks = found()
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Measure something; NAME --help shows a benchmark's options.",
    )
    parser.add_argument("--list", action="store_true", help="name the benchmarks")
    parser.add_argument("name", nargs="?", choices=benchmarks, help="what to measure")
    parser.add_argument("rest", nargs=argparse.REMAINDER, help="its own options")
    options = parser.parse_args(arguments)
    if options.list:
        width = max(map(len, benchmarks))
        for name, benchmark in benchmarks.items():
            print(f"{name:<{width}}  {benchmark.description}")
        return
    if options.name is None:
        parser.error("expected the name of a benchmark; --list names them")
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        importlib.import_module(benchmarks[options.name].module).main(options.rest)
    except (UnfitError, LatentServeError, TrainError, OSError) as error:
        raise SystemExit(f"error: {error}") from error


def _end(*_: object) -> None:
    raise SystemExit(128 + signal.SIGTERM)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _end)  # as Ctrl-C: no server or training is left
    sys.exit(main())
