"""The page of training results, drawn from committed records: never written by hand."""

import argparse
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import mean, stdev

from benchmarks.results import adversarial, cifar10, likelihood
from benchmarks.results.record import Record, Row, read

ROWS: tuple[Row, ...] = (*likelihood.ROWS, *adversarial.ROWS, *cifar10.ROWS)

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
        lines += [_markdown(header, cells), *_seeds(row)]
    found = [record for record in records.values() if record is not None]
    lines += [
        f"- goal: {row.goal}",
        f"- published: {row.published}",
        f"- compared: {row.comparable}",
    ]
    lines += [f"- found: {row.findings}"] if row.findings else []
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
        f"`{record.run.get('artifact', name)}`",
        f"`{record.run['recipe']['name']}`",
        str(provenance["data"]),
        f"{provenance['steps']:,} x {provenance['batch_size']}",
        _time(provenance["seconds"]),
        *(_number(record.figures.get(figure)) for figure in figures),
    )


def _ours(row: Row) -> str:
    """The figure that counts, by recipe."""
    figure = row.figures[0]
    found = {
        recipe: [record.figures[figure] for record in records if figure in record.figures]
        for recipe, records in _by_recipe(row).items()
    }
    parts = [f"`{recipe}` {_spread(values)}" for recipe, values in found.items() if values]
    return f"{_words(figure)}: {', '.join(parts)}" if parts else "not run"


def _by_recipe(row: Row) -> dict[str, list[Record]]:
    """The records there are: those of one recipe differ by their seeds; what ships stands alone,
    for its recipe may have changed since."""
    grouped: dict[str, list[Record]] = {}
    for record in filter(None, map(read, row.records)):
        name = record.run.get("artifact", record.run["recipe"]["name"])
        grouped.setdefault(name, []).append(record)
    return grouped


def _spread(values: Sequence[float]) -> str:
    """The value, or mean and standard deviation of several seeds."""
    if len(values) == 1:
        return _number(values[0])
    return f"{_number(mean(values))} ± {stdev(values):.2g}"


def _seeds(row: Row) -> list[str]:
    """A table of means over seeds, where a recipe was run with several."""
    grouped = _by_recipe(row)
    if all(len(records) < 2 for records in grouped.values()):
        return []
    cells = (
        (
            f"`{recipe}`",
            str(len(records)),
            *(
                _spread([r.figures[figure] for r in records])
                if all(figure in r.figures for r in records)
                else "-"
                for figure in row.figures
            ),
        )
        for recipe, records in grouped.items()
    )
    header = ("mean ± standard deviation", "seeds", *map(_words, row.figures))
    return [_markdown(header, cells)]


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
