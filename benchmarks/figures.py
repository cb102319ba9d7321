"""What a benchmark finds: figures, the bars they are held to, a table and a JSON file of both."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.report import table, write_json


@dataclass(frozen=True)
class Bar:
    """What a figure must hold: at least, or at most, so much."""

    least: float | None = None
    most: float | None = None

    def is_met(self, value: float) -> bool:
        """Whether `value` is on the right side; NaN never is."""
        return (self.least is None or value >= self.least) and (
            self.most is None or value <= self.most
        )

    def verdict(self, value: float) -> str:
        """`at least 1.7: met`, or by how much it is missed."""
        if self.is_met(value):
            return f"{self}: met"
        below = self.least is not None and not value >= self.least
        limit = self.least if below else self.most
        assert limit is not None  # noqa: S101 - a bar without limits is always met
        missing = abs(value - limit)
        # More than all of it is no share that says something: a limit near zero, as of a gain.
        by = f"{missing / limit:.1%}" if missing <= limit else f"{missing:.3g}"
        return f"{self}: MISSED by {by}"

    def __str__(self) -> str:
        limits = [
            f"{name} {limit:g}"
            for name, limit in (("at least", self.least), ("at most", self.most))
            if limit is not None
        ]
        return " and ".join(limits)


def least(value: float) -> Bar:
    """A bar that figures must reach."""
    return Bar(least=value)


def most(value: float) -> Bar:
    """A bar that figures must stay under."""
    return Bar(most=value)


@dataclass(frozen=True)
class Figure:
    """One line of a table: `variant` of `subject` gave `value`, `ratio` times what `against` gave.

    The bar is held against the ratio where there is one, else against the value. A figure that
    could not be taken has no value and a note that says why.
    """

    subject: str
    variant: str
    value: float | None = None
    unit: str = ""
    ratio: float | None = None
    against: str = ""
    bar: Bar | None = None
    note: str = ""
    rounds: list[float] = field(default_factory=list)
    details: Mapping[str, float] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """What a bar is found by."""
        return f"{self.subject}, {self.variant}"

    @property
    def judged(self) -> float | None:
        """What the bar is held against."""
        return self.value if self.ratio is None else self.ratio

    @property
    def verdict(self) -> str:
        """The bar and whether it is met; the note where there is nothing to judge."""
        if self.bar is None or self.judged is None:
            return self.note
        verdict = self.bar.verdict(self.judged)
        return f"{verdict} ({self.note})" if self.note else verdict


def tabulated(figures: Sequence[Figure]) -> str:
    """All figures as one table, with a column for each detail that any of them has."""
    details = list(dict.fromkeys(name for figure in figures for name in figure.details))
    header = ("what", "value", "unit", *details, "ratio", "to", "bar")
    rows = [
        (
            figure.name,
            figure.value,
            figure.unit,
            *(figure.details.get(name) for name in details),
            None if figure.ratio is None else f"{figure.ratio:.3f}",
            figure.against,
            figure.verdict,
        )
        for figure in figures
    ]
    return table(header, rows)


def write_figures(
    path: Path | None, benchmark: str, figures: Sequence[Figure], subject: Mapping[str, Any]
) -> None:
    """Write the figures as JSON, each with its verdict; nothing without a path.

    `subject` says how it was measured: threads, runners, rounds, seconds, engines.
    """
    content = {figure.name: {**asdict(figure), "verdict": figure.verdict} for figure in figures}
    write_json(path, benchmark, content, subject)


def figure_of(content: Mapping[str, Any]) -> Figure:
    """A figure as `write_figures` wrote it; its verdict is computed anew."""
    values = {name: value for name, value in content.items() if name not in ("bar", "verdict")}
    bar = Bar(**content["bar"]) if content["bar"] else None
    return Figure(**values, bar=bar)
