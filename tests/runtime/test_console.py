"""The console script `latentserve`: every command under one name."""

import importlib
import json
import os
import re
import signal
import subprocess
import sys
import time
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


@pytest.mark.parametrize("arguments", [["list"], ["info", "tiny-plain"], ["--help"]])
def test_whoever_stops_reading_gets_no_traceback(arguments: list[str], artifacts: Path) -> None:
    """As `| head -1` does."""
    reading, writing = os.pipe()
    os.close(reading)
    environment = {**os.environ, "LATENTSERVE_ARTIFACTS": str(artifacts)}
    ended = subprocess.run(
        [sys.executable, "-m", "runtime", *arguments],
        stdout=writing,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        timeout=120,
    )
    os.close(writing)
    assert ended.returncode == (0 if arguments == ["--help"] else 141)  # argparse says nothing
    assert "Traceback" not in ended.stderr
    assert "BrokenPipe" not in ended.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is full")
def test_no_room_for_what_is_printed_is_one_line(artifacts: Path) -> None:
    with Path("/dev/full").open("w") as full:
        ended = subprocess.run(
            [sys.executable, "-m", "runtime", "list", str(artifacts)],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=120,
        )
    assert ended.returncode == 1
    assert ended.stderr.splitlines()[-1].startswith("standard output cannot be written: No space")
    assert "Traceback" not in ended.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="no such signal")
def test_ctrl_c_is_one_line(artifacts: Path, tmp_path: Path) -> None:
    # Where the shell ignores the signal, Python does, too.
    code = f"import signal; signal.signal(signal.SIGINT, signal.default_int_handler); {RUN}"
    out = tmp_path / "out"
    words = "sample", artifacts / "tiny-plain", "-n", 10**6, "-o", out, "--backend", "onnxruntime"
    command = [sys.executable, "-c", code, *map(str, words)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as running:
        end = time.monotonic() + 60
        while not (out / "seed0_000000.png").exists() and time.monotonic() < end:
            time.sleep(0.05)
        running.send_signal(signal.SIGINT)
        _, told = running.communicate(timeout=60)
    assert running.returncode == 130
    assert told.splitlines()[-1] == "stopped"
    assert "Traceback" not in told
    assert not list(out.glob("*.part"))


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
