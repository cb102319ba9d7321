"""The page of training results, drawn from committed records: never written by hand."""

import argparse
from collections.abc import Iterable, Sequence
from pathlib import Path

from benchmarks.results import likelihood
from benchmarks.results.record import Record, Row, read

ROWS: tuple[Row, ...] = (*likelihood.ROWS,)

_TOP = """# Results of training

Written by `python -m benchmarks results` from the records in `benchmarks/results/records/`, never
by hand: what each run was, what was measured of it, and the command that measured it. Recipes are
trained by `python -m train RECIPE --data PATH --out runs/RUN`. What has no record says "not run".
"""


def main(arguments: Sequence[str]) -> None:
    """`python -m benchmarks results`"""
    parser = argparse.ArgumentParser(prog="python -m benchmarks results", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("docs/results.md"))
    options = parser.parse_args(arguments)
    options.out.write_text(page(ROWS))
    print(options.out)


def page(rows: Sequence[Row]) -> str:
    """The whole page: an overview, then a section a system."""
    overview = _markdown(
        ("system", "ours", "goal", "published"),
        ((_link(row.system), _ours(row), row.goal, row.published) for row in rows),
    )
    return "\n".join([_TOP, overview, *(_section(row) for row in rows)])


def _section(row: Row) -> str:
    lines = [f"## {row.system}", "", row.shows, ""]
    records = {name: read(name) for name in row.records}
    if not records:
        lines += ["Not run.", ""]
    else:
        header = ("run", "recipe", "data", "steps x batch", "time", *map(_words, row.figures))
        cells = (_run(name, record, row.figures) for name, record in records.items())
        lines += [_markdown(header, cells)]
    found = [record for record in records.values() if record is not None]
    lines += [
        f"- goal: {row.goal}",
        f"- published: {row.published}",
        f"- compared: {row.comparable}",
    ]
    lines += [f"- short of the goal: {row.short}"] if row.short else []
    machines = dict.fromkeys(str(record.run["provenance"]["machine"]) for record in found)
    lines += [f"- machine: {machine}" for machine in machines]
    commands = dict.fromkeys(line for record in found for line in record.command.splitlines())
    lines += [f"- measured by `{command}`" for command in commands]
    for picture in row.pictures if found else ():
        lines += ["", f"![{Path(picture).stem}](results/{picture})"]
    return "\n".join([*lines, ""])


def _run(name: str, record: Record | None, figures: Sequence[str]) -> tuple[str, ...]:
    if record is None:
        return (f"`{name}`", "", "", "", "", "not run", *("" for _ in figures[1:]))
    provenance = record.run["provenance"]
    return (
        f"`{name}`",
        f"`{record.run['recipe']['name']}`",
        str(provenance["data"]),
        f"{provenance['steps']:,} x {provenance['batch_size']}",
        _time(provenance["seconds"]),
        *(_number(record.figures.get(figure)) for figure in figures),
    )


def _ours(row: Row) -> str:
    """The figure that counts of each record."""
    records = [read(name) for name in row.records]
    values = [record and record.figures.get(row.figures[0]) for record in records]
    found = [_number(value) for value in values if value is not None]
    return f"{_words(row.figures[0])} {', '.join(found)}" if found else "not run"


def _markdown(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def _link(system: str) -> str:
    """To the section, as GitHub names it."""
    kept = "".join(c for c in system.lower() if c.isalnum() or c in " -_")
    return f"[{system}](#{kept.replace(' ', '-')})"


def _words(figure: str) -> str:
    return figure.replace("_", " ")


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"


def _time(seconds: float) -> str:
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
