"""The GPU benchmark's results for readers: Markdown tables and a plot, a column or a point a batch.

All are medians over the rounds.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median

from benchmarks.figures import Figure
from benchmarks.gpu.cases import Case, Result
from benchmarks.plot import pyplot

_COLOURS = ("#b9c2c9", "#8d99a3", "#5f6b75", "#3b444c", "#c0a35a", "#a0522d", "#8a6bb0", "#5d8a66")
_OURS = ("#1f6f8b", "#49a3c2", "#0b3d4f", "#2e8b57", "#66c2a5", "#145a3c")


def markdown(results: Sequence[Result], bars: Sequence[Figure]) -> str:
    """The bars, then a table for each network and precision: a row a variant, a column a batch."""
    lines = ["| bar | measured | verdict |", "| --- | --- | --- |"]
    for figure in bars:
        name = figure.name.removeprefix("bar: ")
        lines.append(f"| {name} | {_measured(figure)} | {figure.verdict} |")
    for (network, precision), group in _grouped(results).items():
        batches = sorted(group)
        lines += [
            "",
            f"{network} decode, {precision}, thousand images a second by batch size:",
            "",
            "| variant | " + " | ".join(map(str, batches)) + " |",
            "| --- |" + " ---: |" * len(batches),
        ]
        for variant in _variants(group):
            cells = [_cell(group[batch], variant) for batch in batches]
            lines.append(f"| {variant} | " + " | ".join(cells) + " |")
        lines += _reasons(group)
    return "\n".join(lines) + "\n"


def draw(path: Path, title: str, results: Sequence[Result]) -> None:
    """A panel for each network and precision: images a second against the batch size."""
    grouped = {key: group for key, group in _grouped(results).items() if _measured_any(group)}
    if not grouped:
        raise ValueError(f"{path}: expected at least one result to draw, found none")
    plt = pyplot()
    columns = min(2, len(grouped))
    rows = -(-len(grouped) // columns)
    figure, axes = plt.subplots(
        rows, columns, figsize=(7.5 * columns, 4.2 * rows), squeeze=False, layout="constrained"
    )
    figure.suptitle(title, fontsize=11)
    for panel in axes.flat[len(grouped) :]:
        panel.set_visible(False)
    for panel, ((network, precision), group) in zip(axes.flat, grouped.items(), strict=False):
        colours = {True: iter(_OURS * 3), False: iter(_COLOURS * 3)}
        for variant in _variants(group):
            points = [(b, median(r.rates[variant])) for b, r in group.items() if variant in r.rates]
            ours = variant.startswith("ours")
            if points:
                panel.plot(
                    *zip(*sorted(points), strict=True),
                    marker="o",
                    markersize=3.5,
                    color=next(colours[ours]),
                    linewidth=2.2 if ours else 1.3,
                    label=variant,
                )
        panel.set_xscale("log", base=2)
        panel.set_yscale("log")
        panel.set_xticks(sorted(group), [str(batch) for batch in sorted(group)])
        panel.set_title(f"{network} decode, {precision}", loc="left", fontsize=10)
        panel.set_xlabel("batch", fontsize=8)
        panel.set_ylabel("images/s", fontsize=8)
        panel.grid(alpha=0.25)
        panel.legend(fontsize=6.5)
    figure.savefig(path, format="png", dpi=130)
    plt.close(figure)


Group = Mapping[int, Result]
"""Batch -> what was found."""


def _grouped(results: Sequence[Result]) -> dict[tuple[str, str], dict[int, Result]]:
    grouped: dict[tuple[str, str], dict[int, Result]] = {}
    for result in results:
        case: Case = result.case
        grouped.setdefault((case.network, case.precision), {})[case.batch] = result
    return grouped


def _variants(group: Group) -> list[str]:
    """Those measured at any batch, in the order of a run."""
    return list(dict.fromkeys(name for result in group.values() for name in result.rates))


def _measured_any(group: Group) -> bool:
    return bool(_variants(group))


def _reasons(group: Group) -> list[str]:
    """Why there are dashes, each reason once."""
    batches_of: dict[str, list[str]] = {}
    for batch in sorted(group):
        for variant, reason in group[batch].missing.items():
            batches_of.setdefault(f"{variant}: {reason}", []).append(str(batch))
    lines = [f"- {text} (batch {', '.join(batches)})" for text, batches in batches_of.items()]
    return ["", *lines] if lines else []


def _cell(result: Result, variant: str) -> str:
    rates = result.rates.get(variant)
    return f"{median(rates) / 1000:.4g}" if rates else "-"


def _measured(figure: Figure) -> str:
    if figure.judged is None:
        return "-"
    return f"{figure.judged:.3f}" if figure.ratio is not None else f"{figure.judged:.4g}"
