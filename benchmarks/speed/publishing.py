"""How every speed benchmark ends: a table, and the files that its options name."""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.figures import Figure, tabulated, write_figures

RECORDS = Path(__file__).parent / "records"
"""Of each benchmark the run that docs/performance.md shows: NAME.json."""


def parser(name: str, description: str | None) -> argparse.ArgumentParser:
    """The options that every speed benchmark has."""
    made = argparse.ArgumentParser(prog=f"python -m benchmarks {name}", description=description)
    made.add_argument("--quick", action="store_true", help="less of everything, under a minute")
    made.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    made.add_argument("--plot", type=Path, metavar="FILE.png", help="draw the figures there")
    made.add_argument(
        "--record", action="store_true", help="keep the figures for docs/performance.md"
    )
    return made


def publish(
    options: argparse.Namespace,
    benchmark: str,
    title: str,
    figures: Sequence[Figure],
    subject: Mapping[str, Any],
) -> None:
    """Print the table; write the JSON file, the record and the plot that the options name."""
    print(tabulated(figures))
    write_figures(options.json, benchmark, figures, subject)
    if options.record:
        write_figures(RECORDS / f"{benchmark}.json", benchmark, figures, subject)
    if options.plot is not None:
        from benchmarks.plot import draw  # imports matplotlib

        draw(options.plot, title, figures)
