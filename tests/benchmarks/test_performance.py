"""The page of speed: drawn from records and a template, and the committed page is the drawn one."""

import re
from pathlib import Path

import pytest

from benchmarks.figures import Figure, least, most, write_figures
from benchmarks.speed import performance
from benchmarks.speed.publishing import RECORDS

PAGE = Path(__file__).parents[2] / "docs" / "performance.md"


def test_the_committed_page_is_drawn(tmp_path: Path) -> None:
    performance.main(["--out", str(tmp_path / "performance.md")])
    assert PAGE.read_text() == (tmp_path / "performance.md").read_text(), (
        "docs/performance.md: write it anew with `python -m benchmarks performance`"
    )


def test_the_picture_is_drawn_from_the_record(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib draws the plots (extra: benchmarks)")
    out, plot = tmp_path / "performance.md", tmp_path / "serving.png"
    performance.main(["--out", str(out), "--plot", str(plot)])
    assert plot.read_bytes()[:4] == b"\x89PNG"


def test_every_record_is_on_the_page() -> None:
    shown = re.findall(r"^\{(\w+)\}$", performance.TEMPLATE.read_text(), re.MULTILINE)
    # That of diffusion is on docs/networks.md.
    assert sorted([*shown, "diffusion"]) == sorted(path.stem for path in RECORDS.glob("*.json"))


def test_a_record_is_a_table_with_its_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["benchmarks", "engines", "--rounds", "2"])
    figures = [
        Figure("net x64", "baseline", 1234.5, "images/s", 1.0, "baseline"),
        Figure("net x64", "ours", 2345.6, "images/s", 1.9, "baseline", least(2.0)),
        Figure("net x1", "ours", 41.0, "images/s", details={"p50": 2.5}),
        Figure("net x1", "other", note="not installed"),
        Figure("net x1: p99 / p50", "ours", ratio=1.5, bar=most(2)),
        Figure("net x1: p99 / p50", "other", ratio=1.6),
    ]
    path = tmp_path / "engines.json"
    write_figures(path, "engines", figures, {})
    recorded = performance.Recorded(path)
    assert list(recorded.values()) == figures
    lines = str(recorded).splitlines()
    assert lines[0].startswith("Measured by `python -m benchmarks engines --rounds 2`, ")
    assert lines[2:] == [
        "| images/s (ratio to baseline) | baseline | ours | other | goals and notes |",
        "| --- | --- | --- | --- | --- |",
        "| net x64 | 1,234 (1.000) | 2,346 (1.900) |  | ours: at least 2: MISSED by 5.0% |",
        "| net x1 |  | 41; p50 2.5 | - | other: not installed |",
        "",
        "- net x1: p99 / p50, ours: 1.500, at most 2: met",
    ]


def test_the_notes_of_a_wide_table_are_below_it(tmp_path: Path) -> None:
    figures = [Figure("net", f"variant {i}", 41.0 + i, "images/s") for i in range(4)]
    figures += [
        Figure("net", "ours", 30.0, "images/s", 0.5, bar=least(1)),
        Figure("other net", "ours", 1.0, "images/s"),
        Figure("net: p99 / p50", "ours", ratio=1.5, bar=most(2)),
    ]
    write_figures(tmp_path / "engines.json", "engines", figures, {})
    assert str(performance.Recorded(tmp_path / "engines.json")).splitlines()[2:] == [
        "| images/s | variant 0 | variant 1 | variant 2 | variant 3 | ours |",
        "| --- | --- | --- | --- | --- | --- |",
        "| net | 41 | 42 | 43 | 44 | 30 (0.500) |",
        "| other net |  |  |  |  | 1 |",
        "",
        "Goals and notes:",
        "",
        "- net: ours: at least 1: MISSED by 50.0%",
        "- net: p99 / p50, ours: 1.500, at most 2: met",
    ]
