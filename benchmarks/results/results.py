"""The page of training results, docs/results.md, from committed records."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from benchmarks.report import markdown
from benchmarks.results import (
    adversarial,
    asked,
    cifar10,
    hybrid,
    likelihood,
    queue,
    stacked,
    translation,
)
from benchmarks.results.record import Record, read
from benchmarks.results.row import Row
from train.recipes import RECIPE_JSON, RECIPES, differences

ROWS: tuple[Row, ...] = (
    *likelihood.ROWS,
    *adversarial.ROWS,
    *stacked.ROWS,
    *cifar10.ROWS,
    *hybrid.ROWS,
    *translation.ROWS,
    *asked.ROWS,
)

_PICTURES = Path(__file__).parents[2] / "docs" / "results"

_TOP = """# Results of training

Written by `python -m benchmarks results` from the records in `benchmarks/results/records/`, never
by hand: what each run was, what was measured of it, and the command that measured it. A run is
what `python -m train RECIPE --data PATH --out runs/RUN` wrote, the recipe's options being those in
its table. What has no record says "not run".

- `frechet`: Fréchet distance of 10,000 samples to as many training images in the features of a
  small frozen classifier (`benchmarks/quality/classifiers`).
  `density`, `coverage`, `precision`, `recall`: in the same features. `… real`: of real test images.
- `sure`: the share of samples of which the classifier is at least 0.9 sure; `as asked`: the share
  that it recognises as the label asked for.
- `iw 5000`: negative log-likelihood by the importance-weighted bound with so many draws, in nats;
  `exact`: the same of a model that gives it without a bound.
- Settings were chosen by looking at test figures, where a row does not say otherwise. With
  `--validation` beside a recipe, so many training images were held out and judged, no test image.
- Most rows that are not run yet are run by `python -m benchmarks results --run ROW --hours H`.
"""


_OPTIONS = ("steps", "seed", "validation")
"""Settings that `python -m train` takes as options."""


def main(arguments: Sequence[str]) -> None:
    """`python -m benchmarks results`"""
    parser = argparse.ArgumentParser(prog="python -m benchmarks results", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("docs/results.md"))
    queue.add_arguments(parser)
    options = parser.parse_args(arguments)
    states = queue.work(queue.chosen(parser, options.run, ROWS), options)
    options.out.write_text(page(ROWS))
    print(options.out)
    if not all(state.is_good for state in states):
        raise SystemExit(1)


def page(rows: Sequence[Row]) -> str:
    """The whole page: an overview, then a section a system."""
    overview = markdown(
        ("system", "ours", "goal", "met", "published"),
        (
            (f"[{row.system}](#{row.anchor})", _ours(row), row.goal, row.met(), row.published)
            for row in rows
        ),
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
        lines += [markdown(header, cells), *_seeds(row)]
    found = {name: record for name, record in records.items() if record is not None}
    figures = {name: record.figures for name, record in found.items()}
    lines += [
        f"- goal: {row.goal}",
        f"- met: {row.met()}",
        *(f"  - {check.verdict(figures)}" for check in row.checks if found),
        f"- published: {row.published}",
        f"- compared: {row.comparable}",
    ]
    lines += [f"- found: {row.findings.format_map(figures)}"] if row.findings else []
    machines = dict.fromkeys(str(r.run["provenance"]["machine"]) for r in found.values())
    lines += [f"- machine: {machine}" for machine in machines]
    lines += [line for name, record in found.items() for line in _since(name, record)]
    commands = dict.fromkeys(
        measurement.command
        for record in found.values()
        for measurement in record.measurements
        if not set(row.figures).isdisjoint(measurement.figures)
    )
    if commands:
        lines += ["", '<details markdown="1"><summary>Measured by</summary>', ""]
        lines += [*(f"- `{command}`" for command in commands), "", "</details>"]
    # Those of runs that are still to come are not there yet.
    for picture in row.pictures:
        if (_PICTURES / picture).is_file():
            lines += ["", f"![{Path(picture).stem}](results/{picture})"]
    return "\n".join([*lines, ""])


def _run(name: str, record: Record | None, figures: Sequence[str]) -> tuple[str, ...]:
    if record is None:
        return (f"`{name}`", "", "", "", "", "not run", *("" for _ in figures[1:]))
    provenance = record.run["provenance"]
    return (
        f"`{record.run.get('artifact', name)}`",
        f"`{_command(record)}`",
        str(provenance["data"]),
        f"{provenance['steps']:,} x {provenance['batch_size']}",
        _time(provenance["seconds"]),
        *(_number(record.figures.get(figure)) for figure in figures),
    )


def _command(record: Record) -> str:
    """The recipe with the options of `python -m train` that train it so again."""
    changed = _changed(record)
    options = [f" --{name} {changed[name][0]}" for name in _OPTIONS if name in changed]
    return record.run["recipe"]["name"] + "".join(options)


def _since(name: str, record: Record) -> list[str]:
    """A line where no option of `python -m train` makes up for how the recipe has changed."""
    settings = [
        f"{setting.rpartition('.')[2]} {had} (now {has})"
        for setting, (had, has) in _changed(record).items()
        if setting not in _OPTIONS
    ]
    shown = record.run.get("artifact", name)
    return (
        [f"- the recipe of `{shown}` has changed since: {', '.join(settings)}"] if settings else []
    )


def _changed(record: Record) -> dict[str, tuple[Any, Any]]:
    """What a run was trained with and its recipe has otherwise today: setting -> (had, has)."""
    recipe = RECIPES.get(record.run["recipe"]["name"])
    now = RECIPE_JSON.dump_python(recipe(), mode="json") if recipe else {}
    return differences(record.run["recipe"], now)


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
    for its recipe may have changed since, and so does the way back of a CycleGAN."""
    grouped: dict[str, list[Record]] = {}
    for name in row.records:
        record = read(name)
        if record is None:
            continue
        recipe = record.run["recipe"]["name"]
        back = "_back" if name.startswith(f"{recipe}_back") else ""
        key = record.run.get("artifact", recipe + back)
        grouped.setdefault(key, []).append(record)
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
    return [markdown(header, cells)]


def _words(figure: str) -> str:
    return figure.replace("_", " ")


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.2f}" if isinstance(value, float) and value >= 100 else f"{value:.4g}"


def _time(seconds: float) -> str:
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
