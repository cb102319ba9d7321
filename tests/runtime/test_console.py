"""The console script `latentserve`: every command under one name."""

import importlib
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest

import runtime
from runtime.commands import commands
from runtime.console import main

ROOT = Path(__file__).parents[2]
RUN = "import sys; from runtime.console import main; sys.exit(main())"


def test_the_script_is_this_module() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    module, _, name = project["scripts"]["latentserve"].partition(":")
    assert getattr(importlib.import_module(module), name) is main


@pytest.mark.parametrize("arguments", [[], ["--help"]])
def test_every_command_is_named_with_one_line(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    if arguments:
        with pytest.raises(SystemExit, match="0"):
            main(arguments)
    else:
        assert main(arguments) == 2
    told = capsys.readouterr().out
    listed = dict(re.findall(r"^  ([a-z]+) +(\S.*)$", told, re.MULTILINE))
    assert {*commands(), "serve", "bundle", "train", "export"} == listed.keys()
    assert all(title.endswith(".") for title in listed.values())
    assert max(map(len, told.splitlines())) <= 80


def test_commands_of_the_runtime(
    artifacts: Path, plain: runtime.Model, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "a.npy"
    arguments = [str(artifacts / "tiny-plain"), "-n", "3", "--seed", "7", "-o", str(out)]
    assert main(["sample", *arguments]) == 0
    np.testing.assert_array_equal(np.load(out), plain.sample(3, seed=7))
    with pytest.raises(SystemExit, match="0"):
        main(["sample", "--help"])
    assert capsys.readouterr().out.startswith("usage: latentserve sample ")


@pytest.mark.parametrize("name", ["serve", "bundle", "train", "export"])
def test_other_commands_are_those_of_their_packages(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="0"):
        main([name, "--help"])
    assert capsys.readouterr().out.startswith(f"usage: latentserve {name} ")


def test_a_mistyped_command_names_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["sreve"])
    assert "latentserve: error: no command 'sreve': did you mean serve?" in capsys.readouterr().err


def test_a_missing_extra_is_named(tmp_path: Path) -> None:
    hidden = (
        "import importlib.abc, sys\n"
        "class Hidden(importlib.abc.MetaPathFinder):\n"
        "    def find_spec(self, name, path, target=None):\n"
        "        if name.partition('.')[0] == 'torch':\n"
        "            raise ModuleNotFoundError(f'No module named {name!r}', name=name)\n"
        "sys.meta_path.insert(0, Hidden())\n"
    )
    done = script(tmp_path, "train", "digits_vae", "--out", "x", code=hidden + RUN)
    assert done.returncode == 2
    assert done.stderr == (
        "latentserve train: No module named 'torch': "
        "run pip install '.[train]' in a checkout of latentserve\n"
    )


@pytest.mark.parametrize("name", ["serve", "bundle"])
def test_a_missing_server_is_named(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("bento.commands.serve.find_spec", lambda name: None)
    assert main([name]) == 2
    expected = "run pip install '.[serve]' in a checkout of latentserve"
    error = capsys.readouterr().err
    assert error == f"latentserve {name}: No module named 'bentoml': {expected}\n"


def script(folder: Path, *arguments: str, code: str = RUN) -> "subprocess.CompletedProcess[str]":
    """The script as it is started: nothing of the current folder is on the path."""
    return subprocess.run(
        [sys.executable, "-P", "-c", code, *arguments],
        cwd=folder,
        env={"PYTHONPATH": str(ROOT), "PATH": ""},
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_export_finds_the_modules_of_the_current_folder(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text("raise SystemExit('the train.py of the user was imported')")
    (tmp_path / "nets.py").write_text(
        "from torch import nn\n"
        "def decoder():\n"
        "    return nn.Sequential(nn.Conv2d(2, 3, 1), nn.Sigmoid())\n"
    )
    done = script(
        tmp_path,
        *("export", "module", "nets:decoder", "--latent", "2x4x4", "--image", "4x4x3"),
        *("--value-range", "0", "1", "--name", "mine", "--batches", "1,4"),
    )
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "artifacts/mine/1/manifest.json").read_text())["name"] == "mine"
    last = done.stderr.splitlines()[-1]
    assert last == (
        "mine@1: written to artifacts/mine/1; next: latentserve serve --artifacts artifacts"
    )
