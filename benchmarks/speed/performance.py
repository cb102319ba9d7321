"""The page of speed, docs/performance.md, from committed records: no figure is typed.

The words are in `performance.md` beside this module. There `{engines}` stands for the record of
`python -m benchmarks engines --record` as a table, `{engines[a figure's name].ratio:.2f}` for one
of its numbers, `{engines.subject[rounds]}` for a setting that it was measured with.
"""

import argparse
import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from benchmarks.figures import Figure, figure_of
from benchmarks.report import markdown
from benchmarks.speed.publishing import RECORDS

TEMPLATE = Path(__file__).with_suffix(".md")
PICTURE = "Images a second over HTTP"
"""The title of docs/performance-serving.png."""
_FITTING = 4
"""Variants beside which a page has room for a column of goals and notes."""


class Recorded(dict[str, Figure]):
    """The figures of one record by name, and the settings of the run, `subject`; as text, how they
    were measured and a table."""

    def __init__(self, path: Path) -> None:
        content = json.loads(path.read_text())
        super().__init__({k: figure_of(v) for k, v in content["figures"].items()})
        self.subject = content["subject"]
        where = content["environment"]
        self.cpu: str = where["cpu"]
        self.measured = (
            f"`{content['command']}`, {where['cpu']}, {where['cores']} cores, "
            f"Python {where['python']}, {where['time'][:10]}"
        )

    def __str__(self) -> str:
        valued = [figure for figure in self.values() if figure.value is not None or figure.note]
        # A ratio alone says again what the table says, unless a goal is set for it.
        alone = [figure for figure in self.values() if figure.value is None and figure.bar]
        lines = [f"- {f.name}: {f.ratio:.3f}, {f.verdict}" for f in alone if f.ratio is not None]
        return "\n".join([f"Measured by {self.measured}:", "", _pivot(valued), *lines]).rstrip()


def _pivot(figures: Sequence[Figure]) -> str:
    """A row a subject, a column a variant; goals and notes at the end of the row, or below a wide
    table."""
    by_name = {(figure.subject, figure.variant): figure for figure in figures}
    subjects, variants = (list(dict.fromkeys(names)) for names in zip(*by_name, strict=True))
    units, bases = (_joined(f.unit for f in figures), _joined(f.against for f in figures))
    header = f"{units} (ratio to {bases})" if bases else units
    rows: list[list[str]] = []
    noted: list[tuple[str, str]] = []
    for subject in subjects:
        there = [by_name[subject, v] for v in variants if (subject, v) in by_name]
        notes = "; ".join(f"{f.variant}: {f.verdict}" for f in there if f.verdict)
        cells = (by_name.get((subject, variant)) for variant in variants)
        rows.append([subject, *(_cell(figure) if figure else "" for figure in cells)])
        noted.append((subject, notes))
    if len(variants) <= _FITTING:
        rows = [[*row, notes] for row, (_, notes) in zip(rows, noted, strict=True)]
        return markdown([header, *variants, "goals and notes"], rows)
    below = [f"- {subject}: {notes}" for subject, notes in noted if notes]
    heading = ["", "Goals and notes:", ""] if below else []
    return markdown([header, *variants], rows) + "\n".join([*heading, *below])


def _joined(names: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(filter(None, names)))


def _cell(figure: Figure) -> str:
    if figure.value is None:
        return "-"
    ratio = f" ({figure.ratio:.3f})" if figure.ratio is not None else ""
    details = ", ".join(f"{name} {_number(value)}" for name, value in figure.details.items())
    return f"{_number(figure.value)}{ratio}" + (f"; {details}" if details else "")


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def page() -> str:
    """The template, with every record where it names it."""
    records = {path.stem: Recorded(path) for path in RECORDS.glob("*.json")}
    return TEMPLATE.read_text().format_map(records)


def main(arguments: Sequence[str]) -> None:
    """`python -m benchmarks performance`"""
    parser = argparse.ArgumentParser(prog="python -m benchmarks performance", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("docs/performance.md"))
    parser.add_argument("--plot", type=Path, metavar="FILE.png", help="draw its picture anew there")
    options = parser.parse_args(arguments)
    options.out.write_text(page())
    print(options.out)
    if options.plot is not None:
        from benchmarks.plot import draw  # imports matplotlib

        record = Recorded(RECORDS / "serving.json")
        draw(options.plot, PICTURE, [*record.values()], record.cpu)
        print(options.plot)
