"""One plot for all benchmarks: a panel a subject, a labelled bar a variant.

matplotlib is imported only when something is drawn (extra `benchmarks`).
"""

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from benchmarks.figures import Figure
from runtime.machine import cpu_model, to_install

OURS, OTHERS, MISSING = "#1f6f8b", "#b9c2c9", "#7a7a7a"
_ROW = 0.34  # inches a bar takes
_PANEL = 0.75  # inches a panel takes beside its bars


def draw(path: Path, title: str, figures: Sequence[Figure], cpu: str | None = None) -> None:
    """Draw the figures as a PNG: values as bars, ratios beside them, a bar to be met as a line.

    `cpu`: where they were measured; this machine's unless given."""
    plt = pyplot()
    panels = [(subject, list(rows)) for subject, rows in groupby(figures, lambda f: f.subject)]
    if not panels:
        raise ValueError(f"{path}: expected at least one figure to draw, found none")
    heights = [_PANEL + _ROW * len(rows) for _, rows in panels]
    figure, axes = plt.subplots(
        len(panels),
        1,
        figsize=(9.5, sum(heights) + 0.9),
        height_ratios=heights,
        squeeze=False,
        layout="constrained",
    )
    caption = "\nred lines: goals" if any(row.bar for row in figures) else ""
    figure.suptitle(f"{title}\n{cpu or cpu_model()}{caption}", fontsize=11)
    for panel, (subject, rows) in zip(axes[:, 0], panels, strict=True):
        _draw_panel(panel, subject, rows)
    figure.savefig(path, format="png", dpi=130)
    plt.close(figure)


def _draw_panel(panel: Any, subject: str, rows: Sequence[Figure]) -> None:
    lengths = [_length(row) for row in rows]
    goals = [_needed(row, length) for row, length in zip(rows, lengths, strict=True)]
    top = max(*lengths, *(goal for goal in goals if goal is not None), 0.0) or 1.0
    colours = [OURS if row.variant.startswith("ours") else OTHERS for row in rows]
    panel.barh(range(len(rows)), lengths, color=colours, height=0.72)
    panel.set_yticks(range(len(rows)), [row.variant for row in rows], fontsize=9)
    panel.invert_yaxis()
    panel.set_xlim(0, top * 1.42)  # room for the text beside the longest bar
    units = {row.unit for row in rows if row.value is not None}
    panel.set_title(subject, loc="left", fontsize=10, fontweight="bold")
    panel.set_xlabel(" / ".join(sorted(units)) or "ratio", fontsize=8)
    panel.tick_params(axis="x", labelsize=8)
    panel.spines[["top", "right"]].set_visible(False)
    for line, (row, length, goal) in enumerate(zip(rows, lengths, goals, strict=True)):
        colour = "black" if length else MISSING
        # Behind the goal, whose line would run through the text.
        start = max(length, goal or 0.0) + top * 0.01
        panel.text(start, line, _label(row), va="center", fontsize=8, color=colour)
        if goal is not None:
            panel.plot([goal, goal], [line - 0.45, line + 0.45], color="#c0392b", lw=1.6)


def _length(row: Figure) -> float:
    if row.value is not None:
        return row.value
    return row.ratio or 0.0


def _needed(row: Figure, length: float) -> float | None:
    """Where on the axis the row would just meet its bar; the scale is the row's own."""
    if row.bar is None or not row.judged:
        return None
    limit = row.bar.least if row.bar.least is not None else row.bar.most
    # Ratios of times turn round (less is more), so only ratios that grow with the value are drawn.
    if limit is None or row.unit.startswith("us"):
        return None
    return limit * length / row.judged


def _label(row: Figure) -> str:
    parts: list[str] = []
    if row.value is not None:
        parts.append(f"{row.value:,.0f}" if row.value >= 100 else f"{row.value:.3g}")
    if row.ratio is not None:
        parts.append(f"{row.ratio:.2f}x")
    if row.bar is not None and row.judged is not None:
        parts.append("met" if row.bar.is_met(row.judged) else "missed")
        parts[-1] = f"{row.bar}: {parts[-1]}"
    elif row.judged is None:
        parts.append(row.note)
    return "  ".join(parts)


def pyplot() -> Any:
    """matplotlib's pyplot, drawing to files; SystemExit that says how to get it."""
    try:
        import matplotlib  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise SystemExit(
            f"--plot needs matplotlib ({error}): {to_install('benchmarks')}"
        ) from error
    matplotlib.use("Agg")
    from matplotlib import pyplot as plt  # pyright: ignore[reportMissingImports]

    return plt
