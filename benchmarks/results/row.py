"""Rows of the page: a system, its goal, and the records that show whether the goal is met."""

from collections.abc import Mapping
from dataclasses import dataclass

from benchmarks.figures import Bar
from benchmarks.results.record import read

Found = Mapping[str, Mapping[str, float]]
"""Record -> figure -> value."""


@dataclass(frozen=True)
class Check:
    """A figure of one record, or how it compares with another record's, and what it must hold."""

    record: str
    figure: str
    bar: Bar
    over: str = ""
    """The record whose figure it is divided by."""
    below: str = ""
    """The record whose figure it is subtracted from."""

    def value(self, found: Found) -> float | None:
        """None where a record is missing, or has no such figure."""
        try:
            value = found[self.record][self.figure]
            if self.over:
                value /= found[self.over][self.figure]
            return found[self.below][self.figure] - value if self.below else value
        except KeyError:
            return None

    def verdict(self, found: Found) -> str:
        """The figure's name, the bar, and whether it is met."""
        name = f"`{self.record}` {self.figure.replace('_', ' ')}"
        name += f" over that of `{self.over}`" if self.over else ""
        name += f" below that of `{self.below}`" if self.below else ""
        value = self.value(found)
        return f"{name} " + (f"{self.bar}: not run" if value is None else self.bar.verdict(value))


@dataclass(frozen=True)
class Run:
    """A training run of a row, as `python -m benchmarks results --run` makes and judges it."""

    name: str
    """Of its record, and of its folder."""
    recipe: str
    data: str | None
    """The folder of its data set among those of --data, such as "mnist"; None where the source
    needs none."""
    judged_by: tuple[str, ...]
    """Commands of `python -m benchmarks` that write its record, with {run} and {data} for the
    folders: `likelihood {run} --data {data}`. `--record NAME` is added where it names no other."""
    options: tuple[str, ...] = ()
    """Further options of `python -m train`."""


@dataclass(frozen=True)
class Row:
    """One system of the results: what it must show, and the records that show it."""

    system: str
    shows: str
    records: tuple[str, ...]
    """Names of records; none: not run yet."""
    figures: tuple[str, ...]
    """Names of figures in the records, the one that counts first."""
    goal: str
    published: str
    """The best published figure with its source."""
    comparable: str
    """How far ours and the published one can be compared."""
    checks: tuple[Check, ...] = ()
    """The goal in figures; none where it is to measure `figures`."""
    findings: str = ""
    """What the figures say; where they miss the goal, the suspected cause. A figure is taken from
    its record: `{mnist_vae_iaf[iw_5000]:.1f}`."""
    pictures: tuple[str, ...] = ()
    """Files in docs/results/."""
    runs: tuple[Run, ...] = ()
    """How its records come about; of rows from before there was a queue, their commands tell."""

    @property
    def anchor(self) -> str:
        """The name of its section, as GitHub links to it."""
        kept = "".join(c for c in self.system.lower() if c.isalnum() or c in " -_")
        return kept.replace(" ", "-")

    def found(self) -> Found:
        """The figures of the records that there are."""
        records = {name: read(name) for name in self.records}
        return {name: record.figures for name, record in records.items() if record is not None}

    def met(self) -> str:
        """Whether the figures reach the goal: yes, in part, no; or not run."""
        found = self.found()
        if not found:
            return "not run"
        if self.checks:
            values = [(check.bar, check.value(found)) for check in self.checks]
            reached = [value is not None and bar.is_met(value) for bar, value in values]
        else:
            measured = {figure for figures in found.values() for figure in figures}
            reached = [figure in measured for figure in self.figures]
        return "yes" if all(reached) else "in part" if any(reached) else "no"
