"""The queue of runs: real commands, tiny. Names of runs are absolute paths here, so that folders
and records lie in the test's own folder."""

import argparse
import json
import time
from argparse import Namespace
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.__main__ import found
from benchmarks.results import queue, results
from benchmarks.results.row import Row, Run
from train.data import load
from train.loop import train
from train.recipes import RECIPES

JUDGE = "likelihood {run} --k 3 --images 2"


@pytest.fixture(autouse=True)
def as_important_as_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside other tests on all cores, a command of low priority would take minutes."""
    monkeypatch.setattr(queue, "NICENESS", 0)


def row(system: str, *runs: Run) -> Row:
    names = tuple(run.name for run in runs)
    return Row(system, "shows", names, ("iw_3",), "goal", "published", "compared", runs=runs)


def options(folder: Path, hours: float) -> Namespace:
    return Namespace(hours=hours, data=folder, runs=folder)


def test_a_run_is_trained_resumed_judged_and_recorded_once(tmp_path: Path) -> None:
    name = str(tmp_path / "a tiny run")
    recipe = replace(RECIPES["digits_vae"](), steps=3, checkpoint_every=1)
    data = load(recipe.source, None, recipe.image)
    train(recipe, data, Path(name), until=2, device="cpu")
    run = Run(name, "digits_vae", None, (JUDGE,))
    assert queue.work([run], options(tmp_path, 1)) == [queue.Ended(name, "recorded")]
    record = json.loads(Path(f"{name}.json").read_text())
    assert record["run"]["provenance"]["steps"] == 3
    (measured,) = record["measurements"]
    said = f"python -m benchmarks likelihood '{name}' --k 3 --images 2 --record '{name}'"
    assert measured["command"] == said
    assert measured["figures"]["images"] == 2
    written = Path(f"{name}.json").stat().st_mtime_ns
    assert queue.work([run], options(tmp_path, 1)) == [queue.Ended(name, "recorded")]
    assert Path(f"{name}.json").stat().st_mtime_ns == written


def test_a_command_that_fails_does_not_end_the_queue(tmp_path: Path) -> None:
    runs = [Run(str(tmp_path / n), "digits_vae", None, (JUDGE,), ("--none",)) for n in "ab"]
    ended = queue.work(runs, options(tmp_path, 1))
    assert [(e.state, e.is_good) for e in ended] == [("failed", False)] * 2


def test_the_budget_ends_what_runs_and_begins_nothing_more(tmp_path: Path) -> None:
    runs = [Run(str(tmp_path / "a"), "digits_vae", None, (JUDGE,))]
    assert [each.state for each in queue.work(runs, options(tmp_path, 0))] == ["not begun"]
    assert not (tmp_path / "a").exists()
    asleep = ["-c", "import time; time.sleep(600)"]
    assert queue._run(asleep, time.monotonic() + 0.2) is None  # pyright: ignore[reportPrivateUsage]


def test_runs_are_chosen_by_their_names_and_by_those_of_rows(
    capsys: pytest.CaptureFixture[str],
) -> None:
    a, b, c = (Run(name, "digits_vae", None, ()) for name in "abc")
    rows = [row("VAE (of ours)", a, b), row("GAN", c)]
    parser = argparse.ArgumentParser()
    assert queue.chosen(parser, (), rows) == ()
    assert queue.chosen(parser, ("gan", "a"), rows) == (a, c)
    assert queue.chosen(parser, ("vae-of-ours",), rows) == (a, b)
    assert queue.chosen(parser, ("all",), rows) == (a, b, c)
    with pytest.raises(SystemExit):
        queue.chosen(parser, ("d",), rows)
    assert "expected some of vae-of-ours, gan, a, b, c; found d" in capsys.readouterr().err


def test_every_run_of_the_page_names_a_recipe_a_benchmark_and_a_record_of_its_row() -> None:
    for each in results.ROWS:
        for run in each.runs:
            assert run.recipe in RECIPES
            assert run.name in each.records
            assert run.judged_by
            assert {command.split()[0] for command in run.judged_by} <= set(found())
