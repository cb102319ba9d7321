"""The command line."""

import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from tests.train.conftest import deliver
from train.__main__ import main
from train.data import load
from train.errors import OptionError
from train.recipes import RECIPES
from train.runs import load_run
from train.training import Training

SMALL = ["--image-size", "32", "--width", "4", "--batch-size", "4"]


def test_list_names_every_recipe(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(RECIPES)


def test_a_mistyped_recipe_is_answered_by_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["mnist_vea", "--out", "run"])
    said = capsys.readouterr().err.splitlines()[-1]
    assert "no recipe 'mnist_vea': did you mean mnist_vae" in said
    with pytest.raises(SystemExit, match="2"):
        main(["nothing", "--out", "run"])
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.endswith("no recipe 'nothing': `--list` shows all recipes")


def test_trains_and_resumes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = str(tmp_path / "run")
    assert main(["digits_vae", "--out", out, "--steps", "2", "--device", "cpu"]) == 0
    assert "test_loss" in capsys.readouterr().out
    assert main(["digits_vae", "--out", out, "--steps", "3", "--device", "cpu", "--resume"]) == 0
    assert load_run(tmp_path / "run").provenance["steps"] == 3


def test_validation_images_take_the_place_of_test_images(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["digits_vae", "--out", str(tmp_path / "run"), "--device", "cpu"]
    assert main([*command, "--steps", "1", "--validation", "100"]) == 0
    said = capsys.readouterr().out
    assert "validation_loss" in said
    assert "test_loss" not in said
    run = load_run(tmp_path / "run")
    assert run.recipe.validation == 100
    assert run.provenance["images"] == len(load("digits", None, run.image).train.images) - 100
    # A resumed run holds out the same images.
    assert main([*command, "--resume", "--steps", "2"]) == 0
    assert "validation_loss" in load_run(tmp_path / "run").provenance["metrics"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--seed", "-1"], "error: seed: expected at least 0, found -1"),
        (["--shards", "3"], "error: shards: expected a divisor of the batch size 64, found 3"),
        (
            ["--data", "mine"],
            "error: --data: expected none for digits, which needs no files; found",
        ),
        (["--download"], "error: --download: expected none for digits"),
        (["--resume"], "error: {}: expected a run to resume, found no run.json: train without"),
    ],
)
def test_what_cannot_be_is_said_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], said: str
) -> None:
    command = ["digits_vae", "--out", str(tmp_path), "--steps", "1", "--device", "cpu"]
    assert main([*command, *options]) == 1
    assert capsys.readouterr().err.startswith(said.format(tmp_path))
    assert not any(tmp_path.iterdir())


def test_resume_keeps_the_run_s_number_of_steps(tmp_path: Path) -> None:
    command = ["digits_vae", "--out", str(tmp_path / "run"), "--device", "cpu"]
    assert main([*command, "--steps", "2"]) == 0
    assert main([*command, "--resume"]) == 0
    assert load_run(tmp_path / "run").provenance["steps"] == 2
    assert main([*command, "--resume", "--steps", "1"]) == 1


def test_a_run_is_replaced_by_force_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["digits_vae", "--out", str(tmp_path), "--device", "cpu"]
    (tmp_path / "notes.txt").write_text("mine")
    assert main([*command, "--steps", "2"]) == 0
    assert main([*command, "--steps", "1"]) == 1
    assert "--force to delete it" in capsys.readouterr().err
    assert load_run(tmp_path).provenance["steps"] == 2
    assert main([*command, "--steps", "1", "--force"]) == 0
    assert load_run(tmp_path).provenance["steps"] == 1
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["step-00000001"]
    assert (tmp_path / "notes.txt").read_text() == "mine"
    with pytest.raises(SystemExit, match="2"):
        main([*command, "--resume", "--force"])


def test_an_interrupt_says_how_to_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    advance = Training.advance

    def interrupted(self: Training) -> dict[str, float]:
        deliver(signal.SIGINT)
        return advance(self)

    command = ["digits_vae", "--out", str(tmp_path / "a run"), "--device", "cpu", "--steps", "2"]
    with monkeypatch.context() as patch:
        patch.setattr(Training, "advance", interrupted)
        assert main(command) == 130
    hint = capsys.readouterr().err.split("go on with: python -m train ")[1]
    assert shlex.split(hint) == [*command, "--resume"]
    assert main(shlex.split(hint)) == 0
    assert load_run(tmp_path / "a run").provenance["steps"] == 2


def test_trains_on_a_folder_of_images(tmp_path: Path) -> None:
    for number in range(8):
        picture = Image.effect_noise((40, 30 + number), 64)
        picture.save(tmp_path / f"{number}.png")
    out = tmp_path / "run"
    arguments = ["images_gan", "--data", str(tmp_path), "--out", str(out), *SMALL]
    assert main([*arguments, "--steps", "1", "--device", "cpu"]) == 0
    run = load_run(out)
    assert (run.provenance["data"], run.provenance["images"]) == ("images", 8)
    assert main([*arguments, "--steps", "1"]) == 1  # a run is there: it is not overwritten


def test_a_run_among_its_own_pictures_is_none_of_them(tmp_path: Path) -> None:
    """Its sheets of samples would be trained on, and be other data than the run's own."""
    for number in range(4):
        Image.effect_noise((40, 30 + number), 64).save(tmp_path / f"{number}.png")
    for out in (tmp_path / "run", tmp_path):
        command = ["images_gan", "--data", str(tmp_path), "--out", str(out), "--device", "cpu"]
        assert main([*command, *SMALL, "--steps", "1"]) == 0
        assert list((out / "samples").iterdir())
        assert main([*command, "--steps", "2", "--resume"]) == 0
        assert load_run(out).provenance["images"] == 4
    # What others keep under these names is theirs.
    (tmp_path / "metrics.jsonl").unlink()
    (tmp_path / "samples" / "00000002.png").unlink()
    assert len(load("images", tmp_path, load_run(tmp_path).image, labels=False).train.images) == 5


def test_what_is_refused_deletes_no_run(tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    Image.effect_noise((40, 30), 64).save(folder / "a.png")
    command = ["images_gan", "--data", str(folder), "--out", str(tmp_path / "run"), *SMALL]
    assert main([*command, "--steps", "1", "--device", "cpu"]) == 0

    def refuse(*_: object) -> None:
        raise OptionError("no such parts")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("train.training._check_parts", refuse)
        assert main([*command, "--steps", "1", "--device", "cpu", "--force"]) == 1
    assert load_run(tmp_path / "run").provenance["steps"] == 1


def test_a_folder_with_a_run_is_refused_before_the_data_are_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["digits_vae", "--out", str(tmp_path), "--device", "cpu", "--steps", "1"]) == 0
    missing = ["images_gan", "--data", str(tmp_path / "missing"), *SMALL]
    assert main([*missing, "--out", str(tmp_path)]) == 1
    assert "expected a new folder, found a run" in capsys.readouterr().err
    assert main([*missing, "--out", str(tmp_path / "run.json")]) == 1
    assert "expected a folder for the run, found a file" in capsys.readouterr().err


def test_the_limit_of_pixels_is_an_option(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Image.new("L", (40, 30)).save(tmp_path / "a.png")
    arguments = ["images_gan", "--data", str(tmp_path), "--out", str(tmp_path / "run"), *SMALL]
    assert main([*arguments, "--max-pixels", "1199"]) == 1
    assert "expected at least one readable image, found none" in capsys.readouterr().err
    assert main([*arguments, "--max-pixels", "1200", "--steps", "1", "--device", "cpu"]) == 0


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
        (["digits_vae", "--out", "run", "--device", "foo"], "--device: expected auto, cpu or"),
        (["digits_vae", "--out", "run", "--device", "cuda:99"], "found 'cuda:99': "),
        (["digits_vae", "--out", "file/run", "--device", "cpu"], "Not a directory"),
        (["digits_vae", "--out", "file", "--device", "cpu"], "file"),
        (["mnist_vae", "--out", "run", "--data", "file", "--download"], "expected a folder to"),
    ],
)
def test_what_cannot_be_used_is_one_line(
    arguments: list[str],
    text: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    assert main(arguments) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert text in error
    assert error.count("\n") == 1
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ([], "expected RECIPE and --out"),
        (["digits_vae"], "expected RECIPE and --out"),
        (["no_such_recipe", "--out", "x"], "`--list` shows all recipes"),
        (["digits_vae", "--out", "x", "--steps", "0"], "expected at least 1, found 0"),
        (["digits_vae", "--out", "x", "--steps", "abc"], "invalid positive integer value: 'abc'"),
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
