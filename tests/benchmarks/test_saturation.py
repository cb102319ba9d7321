"""The early gradient of the generator, read from runs' logs."""

import json
import math
from pathlib import Path

import pytest
from PIL import Image

from benchmarks.quality import saturation


def run(folder: Path, gradient: float, score: float) -> Path:
    folder.mkdir()
    lines = [
        {"step": step, "generator/gradient": gradient * step, "discriminator/fake": score}
        for step in (100, 200, 300, 400, 5000)
    ]
    # A resumed run may log a scalar that its first part did not.
    lines[-1] |= {"discriminator/r1": 1.0}
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def test_early_figures_are_medians_of_the_first_steps(tmp_path: Path) -> None:
    log = saturation.read_log(run(tmp_path / "a", gradient=0.5, score=-2.0))
    assert log.keys() == {"step", "generator/gradient", "discriminator/fake"}
    assert saturation.early(log) == pytest.approx(
        {"early_gradient": 0.5 * 200, "early_fake_probability": 1 / (1 + math.exp(2))}
    )


def test_two_runs_are_drawn_and_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = [run(tmp_path / "flat", 0.01, -8.0), run(tmp_path / "steep", 1.0, -4.0)]
    picture = tmp_path / "gradients.png"
    saturation.main([*map(str, runs), "--out", str(picture)])
    with Image.open(picture) as drawn:
        assert drawn.size == (800, 600)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in lines[2:]] == [["flat", "2"], ["steep", "200"]]


def test_a_name_for_each_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = [run(tmp_path / "flat", 0.01, -8.0), run(tmp_path / "steep", 1.0, -4.0)]
    with pytest.raises(SystemExit):
        saturation.main([*map(str, runs), "--record", "one"])
    assert "expected as many names as runs" in capsys.readouterr().err
