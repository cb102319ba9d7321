"""Bars, the table, the JSON file and the plot."""

import argparse
import json
import math
from pathlib import Path

import pytest
from PIL import Image

from benchmarks.figures import Bar, Figure, least, most, tabulated, write_figures
from benchmarks.speed import encoding, engines, inprocess, memory, serving, startup
from benchmarks.speed.publishing import publish

FIGURES = [
    Figure("net x64", "baseline", 100.0, "images/s", 1.0, "baseline", rounds=[90.0, 100.0]),
    Figure("net x64", "ours", 180.0, "images/s", 1.8, "baseline", least(1.7)),
    Figure("net x64", "other", note="not installed"),
    Figure("memory", "ours", 41.0, "MB grown", bar=most(30), details={"after 1%": 200.0}),
    Figure("latency", "ours", ratio=1.5, bar=most(2)),
]


@pytest.mark.parametrize(
    ("bar", "value", "met"),
    [
        (least(1.7), 1.7, True),
        (least(1.7), 1.69, False),
        (most(2), 2.0, True),
        (most(2), 2.01, False),
        (least(1), math.nan, False),
        (most(1), math.nan, False),
    ],
)
def test_a_bar_is_met_or_not(bar: Bar, value: float, met: bool) -> None:
    assert bar.is_met(value) is met


def test_the_verdict_says_by_how_much_a_bar_is_missed() -> None:
    assert least(1.7).verdict(1.8) == "at least 1.7: met"
    assert least(0.8).verdict(0.72) == "at least 0.8: MISSED by 10.0%"
    assert most(30).verdict(33) == "at most 30: MISSED by 10.0%"
    assert most(0).verdict(2) == "at most 0: MISSED by 2"
    assert least(0.001).verdict(-0.0222) == "at least 0.001: MISSED by 0.0232"


def test_the_ratio_is_judged_where_there_is_one() -> None:
    assert FIGURES[1].judged == 1.8
    assert FIGURES[3].judged == 41.0
    assert FIGURES[2].judged is None


def test_a_figure_that_could_not_be_taken_says_why() -> None:
    assert FIGURES[2].verdict == "not installed"
    assert Figure("a", "b", bar=least(1), note="FAILED in 3 of 3 rounds").verdict.startswith("FAIL")


def test_the_table_has_verdicts_and_details() -> None:
    lines = tabulated(FIGURES).splitlines()
    assert "after 1%" in lines[0]
    assert "at least 1.7: met" in lines[3]
    assert "MISSED by 36.7%" in lines[5]


def test_publishing_prints_and_writes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = argparse.Namespace(json=tmp_path / "a.json", plot=None, record=False)
    publish(options, "engines", "A title", FIGURES, {"rounds": 2, "cores": 2})
    assert "net x64, ours" in capsys.readouterr().out
    record = json.loads((tmp_path / "a.json").read_text())
    assert record["subject"] == {"rounds": 2, "cores": 2}
    assert record["environment"]["cpu"]
    ours = record["figures"]["net x64, ours"]
    assert (ours["ratio"], ours["bar"]["least"], ours["verdict"]) == (1.8, 1.7, "at least 1.7: met")
    assert record["figures"]["net x64, baseline"]["rounds"] == [90.0, 100.0]


def test_a_figure_without_a_number_loses_no_other(tmp_path: Path) -> None:
    path = tmp_path / "figures.json"
    nowhere = Figure("a", "ours", float("nan"), rounds=[1.0, float("inf")])
    write_figures(path, "some", [nowhere, Figure("b", "ours", 2.0)], {})
    found = json.loads(path.read_text())["figures"]
    assert (found["a, ours"]["value"], found["a, ours"]["rounds"]) == (None, [1.0, None])
    assert found["b, ours"]["value"] == 2.0


def test_the_plot_is_a_png(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib draws the plots (extra: benchmarks)")
    from benchmarks.plot import draw

    draw(tmp_path / "a.png", "A title", FIGURES)
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.format == "PNG"
        assert picture.width > 600
        assert len(picture.convert("RGB").getcolors(1 << 24) or ()) > 10


def test_no_goal_runs_through_the_text() -> None:
    pytest.importorskip("matplotlib", reason="matplotlib draws the plots (extra: benchmarks)")
    from benchmarks.plot import _draw_panel, pyplot

    plt = pyplot()
    figure, panel = plt.subplots(figsize=(9.5, 2.0))
    missed = Figure("net x64", "ours", 90.0, "images/s", 0.9, "baseline", least(1.0))
    _draw_panel(panel, "net x64", [missed, *FIGURES[:2]])
    figure.canvas.draw()
    texts = [text.get_window_extent() for text in panel.texts]
    goals = [line.get_window_extent() for line in panel.lines]
    plt.close(figure)
    assert len(texts) == 3
    assert len(goals) == 2
    assert not [text for text in texts for goal in goals if text.overlaps(goal)]


def test_nothing_to_draw_is_an_error(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib draws the plots (extra: benchmarks)")
    from benchmarks.plot import draw

    with pytest.raises(ValueError, match="at least one figure"):
        draw(tmp_path / "a.png", "A title", [])


def test_the_bars_are_the_issues() -> None:
    assert engines.BARS["resnet32 decode x64, ours, auto"] == least(2.2)
    assert engines.BARS["resnet32 decode x64, ours, fp32"] == least(1.9)
    assert inprocess.BARS["dcgan64 sample, fp32"] == least(0.97)
    assert serving.BARS["dcgan64 n=1 PNG, 128 connections, ours"] == least(0.90)
    assert serving.BARS[f"dcgan64 {serving.INFER}, 8 connections, ours"] == least(0.95)
    assert encoding.BARS["28x28 grey (mnist-vae), ours, png"] == least(4)
    assert startup.BARS["start to ready, cold cache, seconds"] == most(10)
    assert most(30) == memory.GROWTH
