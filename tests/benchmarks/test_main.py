"""The frame: names, descriptions, lazy imports."""

import importlib
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks.__main__ import Benchmark, found, main
from benchmarks.report import table

ROOT = Path(__file__).parents[2]


def test_list_names_every_benchmark_and_imports_none() -> None:
    code = (
        "import sys, benchmarks.__main__ as m; m.main(['--list']); "
        "assert not {'torch', 'onnxruntime', 'numpy', 'benchmarks.quality'} & sys.modules.keys()"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    lines = result.stdout.splitlines()
    assert [line.split()[0] for line in lines] == list(found())


@pytest.mark.parametrize(("name", "benchmark"), found().items())
def test_every_name_is_a_module_with_help(
    name: str, benchmark: Benchmark, capsys: pytest.CaptureFixture[str]
) -> None:
    assert callable(importlib.import_module(benchmark.module).main)
    assert benchmark.description
    with pytest.raises(SystemExit) as stopped:
        main([name, "--help"])
    assert stopped.value.code == 0
    assert f"benchmarks {name}" in capsys.readouterr().out


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_signal_ends_it_as_ctrl_c_does() -> None:
    """What a benchmark has started ends with it."""
    command = [sys.executable, "-m", "benchmarks", "encoding"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL) as process:
        while not _caught(process.pid) >> (signal.SIGTERM - 1) & 1:
            assert process.poll() is None
            time.sleep(0.005)
        process.terminate()
        assert process.wait(60) == 128 + signal.SIGTERM


def _caught(process: int) -> int:
    status = Path(f"/proc/{process}/status").read_text()
    return int(status.split("SigCgt:")[1].split()[0], 16)


def test_the_benchmarks_are_these() -> None:
    assert set(found()) == {
        *("bulk", "cluster", "convolutions", "encoding", "engines", "inprocess", "memory"),
        *("networks", "page", "sampling", "serving", "small", "startup", "workers"),
        *("animation", "arithmetic", "augmentation", "classifier", "disentanglement", "gallery"),
        *("interpolation", "layers", "likelihood", "manifold", "modes", "prior", "quality"),
        *("saturation", "sheet", "style", "transfer", "translation", "truncation"),
        *("diffusion", "gpu", "performance", "references", "results"),
        *("prompts", "volumes"),
    }


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["likelihood", "{}"], "error: {}/run.json: expected a training run's record"),
        (["layers", str(ROOT / "artifacts/mnist-vae")], "error: mnist-vae: expected a decoder"),
    ],
)
def test_what_does_not_fit_is_said_in_one_line(
    tmp_path: Path, arguments: list[str], said: str
) -> None:
    with pytest.raises(SystemExit) as stopped:
        main([argument.format(tmp_path) for argument in arguments])
    assert str(stopped.value.code).startswith(said.format(tmp_path))


def test_no_name_says_where_the_names_are(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main([])
    assert stopped.value.code == 2
    assert "--list" in capsys.readouterr().err


def test_table_aligns_and_rounds() -> None:
    assert table(("what", "value"), [("a", 1.23456), ("long", None), ("b", 12)]) == (
        "what  value\n----  -----\na     1.235\nlong      -\nb        12"
    )
