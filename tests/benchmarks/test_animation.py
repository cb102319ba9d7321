"""The sheets of a run as an animation."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.quality import animation


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Sheets that get brighter from step to step."""
    (tmp_path / "samples").mkdir()
    for step in range(9):
        image = np.full((8, 8, 3), 25 * step, np.uint8)
        Image.fromarray(image).save(tmp_path / "samples" / f"{100 * step:08d}.png")
    return tmp_path


@pytest.mark.parametrize("name", ["it.webp", "it.gif"])
def test_sheets_follow_one_another_and_the_last_one_stays(run: Path, name: str) -> None:
    path = run / name
    animation.main([str(run), "--out", str(path), "--frames", "4", "--milliseconds", "50"])
    with Image.open(path) as found:
        assert found.info["loop"] == 0
        assert getattr(found, "n_frames", 1) == 4
        levels, times = [], []
        for frame in range(4):
            found.seek(frame)
            found.load()
            levels.append(int(np.asarray(found.convert("L")).mean().round()))
            times.append(found.info["duration"])
    # Of 9 sheets the first, the last, and two between, nearer to the first.
    assert levels == pytest.approx([0, 25, 100, 200], abs=3)
    assert times == [50, 50, 50, 600]


def test_what_is_no_run_or_no_animation_is_refused(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for arguments, said in (
        ([str(run), "--out", "it.png"], "--out: expected a .webp or a .gif, found it.png"),
        ([str(run / "samples"), "--out", "it.gif"], "expected a run's folder with sheets"),
    ):
        with pytest.raises(SystemExit):
            animation.main(arguments)
        assert said in capsys.readouterr().err
