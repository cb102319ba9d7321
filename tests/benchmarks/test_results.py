"""The page of results: drawn from records alone, and the committed page is the drawn one."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.figures import Bar, least, most
from benchmarks.results import adversarial, record, results
from benchmarks.results.row import Check, Row
from tests import tiny
from train.recipes import RECIPE_JSON, RECIPES

PAGE = Path(__file__).parents[2] / "docs" / "results.md"
ROW = Row(
    system="A VAE (of ours)",
    shows="That records are shown.",
    records=("one", "two"),
    figures=("iw_5000", "test_kl"),
    goal="at most 86.8",
    published="86.77 (somebody)",
    comparable="not at all",
    checks=(Check("one", "iw_5000", most(86.8)),),
    pictures=("frogs_paths.png", "of_a_run_to_come.png"),
)


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run's folder; records go beside it."""
    (tmp_path / "records").mkdir()
    monkeypatch.setattr(record, "FOLDER", tmp_path / "records")
    monkeypatch.setattr("sys.argv", ["benchmarks", "likelihood", "runs/one"])
    provenance = {
        "data": "mnist",
        "steps": 46875,
        "batch_size": 128,
        "seconds": 960.0,
        "machine": "a machine, 2 cores",
        "metrics": {"test_kl": 25.0, "iw_5000": 99.0},
    }
    (tmp_path / "run.json").write_text(
        json.dumps({"recipe": {"name": "mnist_vae"}, "provenance": provenance})
    )
    return tmp_path


def recorded(name: str) -> record.Record:
    found = record.read(name)
    assert found is not None
    return found


def test_a_record_is_the_run_what_was_measured_and_the_command(run: Path) -> None:
    record.write("one", run, {"iw_5000": 86.5})
    found = recorded("one")
    assert found.run == json.loads((run / "run.json").read_text())
    command = "python -m benchmarks likelihood runs/one"
    assert found.measurements == (record.Measurement(command, {"iw_5000": 86.5}),)
    assert found.figures == {"iw_5000": 86.5, "test_kl": 25.0}
    assert record.read("two") is None


def test_figures_of_another_command_stay_until_the_run_is_another(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record.write("one", run, {"iw_5000": 86.5})
    monkeypatch.setattr("sys.argv", ["benchmarks", "manifold", "runs/one"])
    record.write("one", run, {"classes": 10.0})
    found = recorded("one")
    assert [m.figures for m in found.measurements] == [{"iw_5000": 86.5}, {"classes": 10.0}]
    assert found.measurements[1].command == "python -m benchmarks manifold runs/one"
    monkeypatch.setattr("sys.argv", ["benchmarks", "likelihood", "runs/one", "--k", "5000"])
    record.write("one", run, {"iw_5000": 86.4, "images": 100})
    found = recorded("one")
    assert [m.figures.get("iw_5000") for m in found.measurements] == [None, 86.4]
    changed = (run / "run.json").read_text().replace("46875", "50000")
    (run / "run.json").write_text(changed)
    record.write("one", run, {"classes": 9.0})
    found = recorded("one")
    assert [m.figures for m in found.measurements] == [{"classes": 9.0}]


def test_an_artifact_is_recorded_as_the_run_it_came_from(run: Path) -> None:
    described = json.loads((run / "run.json").read_text())
    details = {"params": described["recipe"], **described["provenance"]}
    folder = tiny.write_artifact(run, "vae", details=details)
    record.write("one", folder.parent, {"nearest": 1.5})
    found = recorded("one")
    assert found.run["artifact"] == "tiny-vae@1"
    assert found.run["recipe"] == {"name": "mnist_vae"}
    # What the artifact's card says was measured another time.
    assert found.figures == {"nearest": 1.5}
    assert "| `tiny-vae@1` | `mnist_vae` | mnist | 46,875 x 128 |" in results.page([ROW])
    with pytest.raises(ValueError, match=r"expected an artifact of a run, found \['seed'\]"):
        record.write("two", tiny.write_artifact(run, "plain"), {"nearest": 1.5})


def test_the_page_shows_records_and_says_what_was_not_run(run: Path) -> None:
    nothing = results.page([ROW])
    assert "| [A VAE (of ours)](#a-vae-of-ours) | not run | at most 86.8 | not run |" in nothing
    assert "| `one` |  |  |  |  | not run |  |" in nothing
    record.write("one", run, {"iw_5000": 86.54321})
    page = results.page([ROW])
    assert "| iw 5000: `mnist_vae` 86.54 | at most 86.8 |" in page
    assert "standard deviation" not in page
    assert "| at most 86.8 | yes |" in page
    row = "| `one` | `mnist_vae` | mnist | 46,875 x 128 | 16 min | 86.54 | 25 |"
    assert row in page
    assert "| `two` |  |  |  |  | not run |  |" in page
    assert "- machine: a machine, 2 cores" in page
    assert "- `python -m benchmarks likelihood runs/one`" in page
    assert "![frogs_paths](results/frogs_paths.png)" in page
    assert "to_come" not in page


def test_whether_a_goal_is_met_follows_from_the_figures(run: Path) -> None:
    checks = (
        Check("one", "iw_5000", most(86.8)),
        Check("one", "iw_5000", least(1), below="two"),
        Check("one", "iw_5000", Bar(0.9, 1.1), over="two"),
    )
    row = replace(ROW, checks=checks, findings="{one[iw_5000]:.1f} nats")
    assert row.met() == "not run"
    record.write("one", run, {"iw_5000": 86.54321})
    assert row.met() == "in part"
    record.write("two", run, {"iw_5000": 87.6})
    assert row.met() == "yes"
    page = results.page([row])
    assert "  - `one` iw 5000 at most 86.8: met\n" in page
    assert "  - `one` iw 5000 below that of `two` at least 1: met\n" in page
    assert "  - `one` iw 5000 over that of `two` at least 0.9 and at most 1.1: met\n" in page
    assert "- found: 86.5 nats" in page
    record.write("one", run, {"iw_5000": 87.0})
    assert replace(row, checks=checks[:2]).met() == "no"
    assert "  - `one` iw 5000 at most 86.8: MISSED by 0.2%\n" in results.page([row])


def test_a_goal_without_a_bar_is_met_once_its_figures_are_measured(run: Path) -> None:
    row = replace(ROW, checks=(), figures=("iw_5000", "seen"))
    record.write("one", run, {"iw_5000": 86.5})
    assert row.met() == "in part"
    record.write("two", run, {"seen": 1.0})
    assert row.met() == "yes"


def test_seeds_of_one_recipe_have_a_mean_and_a_spread(run: Path) -> None:
    for name, value in (("one", 85.0), ("two", 88.0)):
        record.write(name, run, {"iw_5000": value})
    page = results.page([ROW])
    assert "| iw 5000: `mnist_vae` 86.5 ± 2.1 |" in page
    assert "| `mnist_vae` | 2 | 86.5 ± 2.1 | 25 ± 0 |" in page


def test_the_way_back_is_no_further_seed(run: Path) -> None:
    names = ("mnist_vae_0", "mnist_vae_back_0")
    for name, value in zip(names, (85.0, 88.0), strict=True):
        record.write(name, run, {"iw_5000": value})
    page = results.page([replace(ROW, records=names, checks=())])
    assert "| iw 5000: `mnist_vae` 85, `mnist_vae_back` 88 |" in page
    assert "standard deviation" not in page


def test_commands_are_those_of_the_figures_shown(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record.write("one", run, {"iw_5000": 86.0})
    monkeypatch.setattr("sys.argv", ["benchmarks", "manifold", "runs/one"])
    record.write("one", run, {"classes": 10.0})
    page = results.page([ROW])
    assert "- `python -m benchmarks likelihood runs/one`" in page
    assert "manifold" not in page


def test_a_recipe_that_changed_since_is_marked(run: Path) -> None:
    recipe = RECIPE_JSON.dump_python(RECIPES["mnist_vae_2d"](), mode="json")
    recipe |= {"seed": 3, "steps": 7}
    recipe["objective"]["network"]["hidden"] = 11
    content = json.loads((run / "run.json").read_text()) | {"recipe": recipe}
    (run / "run.json").write_text(json.dumps(content))
    record.write("one", run, {"iw_5000": 86.0})
    page = results.page([ROW])
    assert "| `one` | `mnist_vae_2d --steps 7 --seed 3` |" in page
    assert "- the recipe of `one` has changed since: hidden 11 (now 400)\n" in page


def test_a_system_without_records_is_not_run() -> None:
    page = results.page(
        [Row("GAN", "Nothing.", (), ("frechet",), "g", "p", "c", findings="half of it")]
    )
    assert "- found: half of it" in page
    assert "| [GAN](#gan) | not run | g | not run | p |" in page
    assert "Not run." in page


def test_the_committed_page_is_drawn_and_its_pictures_are_there(tmp_path: Path) -> None:
    results.main(["--out", str(tmp_path / "results.md")])
    assert PAGE.read_text() == (tmp_path / "results.md").read_text(), (
        "docs/results.md: write it anew with `python -m benchmarks results`"
    )
    for row in results.ROWS:
        if row.met() != "not run" and all(record.read(name) for name in row.records):
            for picture in row.pictures:
                assert (PAGE.parent / "results" / picture).is_file()


def test_what_is_recorded_of_artifacts_is_of_those_that_ship() -> None:
    for path in adversarial.SHIPPED:
        name = path.parent.name
        found = record.read(f"artifact_{name.replace('-', '_')}")
        assert found is not None, name
        assert found.run["artifact"] == f"{name}@{path.name}", (
            f"measure {name} again: python -m benchmarks quality artifacts/{name} --data PATH "
            f"--record artifact_{name.replace('-', '_')}"
        )


def test_every_record_is_in_a_row() -> None:
    used = {name for row in results.ROWS for name in row.records}
    assert {path.stem for path in record.FOLDER.glob("*.json")} <= used
