"""The command line."""

import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from train.__main__ import main
from train.recipes import RECIPES
from train.runs import load_run


def test_list_names_every_recipe(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(RECIPES)


def test_trains_and_resumes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = str(tmp_path / "run")
    assert main(["digits_vae", "--out", out, "--steps", "2", "--device", "cpu"]) == 0
    assert "test_loss" in capsys.readouterr().out
    assert main(["digits_vae", "--out", out, "--steps", "3", "--device", "cpu", "--resume"]) == 0
    assert load_run(tmp_path / "run").provenance["steps"] == 3


def test_trains_on_a_folder_of_images(tmp_path: Path) -> None:
    for number in range(8):
        picture = Image.effect_noise((40, 30 + number), 64)
        picture.save(tmp_path / f"{number}.png")
    out = tmp_path / "run"
    arguments = ["images_dcgan", "--data", str(tmp_path), "--out", str(out)]
    assert main([*arguments, "--steps", "1", "--device", "cpu"]) == 0
    run = load_run(out)
    assert (run.provenance["data"], run.provenance["images"]) == ("images", 8)
    assert main([*arguments, "--steps", "1"]) == 1  # a run is there: it is not overwritten


def test_errors_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    missing = str(tmp_path / "missing")
    assert main(["mnist_vae", "--data", missing, "--out", str(tmp_path / "run")]) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"error: {missing}: expected the four MNIST files")
    assert error.count("\n") == 1
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ([], "expected RECIPE and --out"),
        (["digits_vae"], "expected RECIPE and --out"),
        (["no_such_recipe", "--out", "x"], "mnist_vae_2d"),
        (["digits_vae", "--out", "x", "--steps", "0"], "expected at least 1, found 0"),
    ],
)
def test_usage(arguments: list[str], text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(arguments)
    assert text in capsys.readouterr().err


def test_as_a_module() -> None:
    command = [sys.executable, "-m", "train", "--list"]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "cifar10_frogs_dcgan" in result.stdout
