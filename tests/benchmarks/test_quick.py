"""Every speed benchmark runs from end to end with `--quick`; its figures mean nothing here."""

import importlib
import json
import os
import shutil
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from benchmarks.speed import timing
from runtime.machine import cores
from tests.apart import can_be_apart, run_apart

ARTIFACTS = Path(__file__).parents[2] / "artifacts"
DIGITS = ARTIFACTS / "mnist-vae"
BRIEFLY = ("--rounds", "1", "--seconds", "0.01")

# Benchmarks take turns, however many processes the tests have: each wants all cores.
pytestmark = pytest.mark.xdist_group("benchmarks")


@pytest.fixture(autouse=True)
def no_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    """What comes out of a turn that is disturbed by another's threads is as good here."""
    monkeypatch.setattr(timing, "SETTLE", 0.0)


def quick(name: str, tmp_path: Path, *options: str) -> dict[str, Any]:
    """The record that a quick run writes."""
    path = tmp_path / "figures.json"
    arguments = ["--quick", "--json", str(path), *options]
    importlib.import_module(f"benchmarks.speed.{name}").main(arguments)
    record = json.loads(path.read_text())
    assert record["benchmark"] == name
    assert record["environment"]["versions"]["numpy"]
    return record


def alone(folder: Path, artifact: Path = DIGITS) -> Path:
    """It in a folder of artifacts that holds no others: a service that starts tries all."""
    return Path(shutil.copytree(artifact, folder / "artifacts" / artifact.name))


def test_encoding(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record = quick("encoding", tmp_path, "--images", "8", "--rounds", "1")
    assert "28x28 grey (mnist-vae), ours, png" in capsys.readouterr().out
    figures = record["figures"]
    for kind in ("28x28 grey (mnist-vae)", "32x32 RGB (frogs)"):
        assert figures[f"{kind}, ours, png"]["ratio"] > 0
        assert figures[f"{kind}: bytes, ours, png"]["verdict"] == "at most 1.3: met"


def test_engines(tmp_path: Path) -> None:
    record = quick("engines", tmp_path, "--artifact", str(DIGITS), *BRIEFLY)
    figures = record["figures"]
    assert figures["mnist-vae decode x64, ONNX Runtime, default threads"]["ratio"] == 1
    assert figures["mnist-vae encode x1, ours, fp32"]["value"] > 0
    assert "no torch module" in figures["mnist-vae decode x64, torch eager"]["note"]
    assert "fp32" in record["subject"]["ours"]["mnist-vae, ours, fp32"]


def test_torch_runs_the_reference_networks(tmp_path: Path) -> None:
    figures = quick("engines", tmp_path, "--networks", "vae32", *BRIEFLY)["figures"]
    assert figures["vae32 decode x64, torch eager"]["value"] > 0
    assert figures["vae32 encode x64, torch eager"]["value"] > 0


def test_inprocess(tmp_path: Path) -> None:
    figures = quick("inprocess", tmp_path, "--artifact", str(DIGITS), *BRIEFLY)["figures"]
    assert figures["mnist-vae sample, fp32, ours"]["ratio"] > 0
    assert figures["mnist-vae encode, fp32, ours"]["ratio"] > 0
    assert figures["mnist-vae sample of one, fp32, ours"]["ratio"] > 0
    raw = [figure for name, figure in figures.items() if "raw loop" in name]
    # The fastest of the raw loops is what all are held against.
    assert sum(figure["ratio"] == 1 for figure in raw) == 4


@pytest.mark.skipif(cores() < 2, reason="one core is not divided")
@pytest.mark.skipif(shutil.which("wrk") is None, reason="needs wrk")
def test_workers(tmp_path: Path) -> None:
    record = quick("workers", tmp_path, "--workers", "2")
    assert record["subject"]["workers"] == 2
    for load in ("n=1 PNG, 64 connections", "n=64 npy, 8 connections"):
        figures = record["figures"]
        assert figures[f"mnist-vae {load}, one worker"]["value"] > 0
        assert figures[f"mnist-vae {load}, 2 workers"]["ratio"] > 0


@pytest.mark.skipif(shutil.which("wrk") is None, reason="needs wrk")
def test_small(tmp_path: Path) -> None:
    figures = quick("small", tmp_path, "--no-peers", "--connections", "4")["figures"]
    for server in ("bare uvicorn on our runtime", "ours, one worker", "ours, a worker a core"):
        assert 0 < figures[f"mnist-vae n=1 PNG, 4 connections, {server}"]["ratio"] < 1
    beside = "mnist-vae n=1 PNG, 4 connections, 4,096 images beside: p99 / p50, ours, one worker"
    assert figures[beside]["ratio"] >= 1


def test_memory(tmp_path: Path) -> None:
    options = ("--artifact", str(alone(tmp_path)), "--stream", "20000")
    figures = quick("memory", tmp_path, *options)["figures"]
    assert set(figures) == {
        "mnist-vae stream(20000), ours",
        "mnist-vae POST /sample n=4096 npy, ours",
    }
    for figure in figures.values():
        assert figure["details"]["at most"] >= figure["details"]["after 1%"] > 0


def test_startup(tmp_path: Path) -> None:
    figures = quick("startup", tmp_path, "--artifacts", str(alone(tmp_path).parent))["figures"]
    assert figures["start to ready, seconds"]["value"] > 0
    assert figures["start to ready, cold cache, seconds"]["bar"] == {"least": None, "most": 10.0}
    assert figures["resident memory when ready, megabytes"]["value"] > 50


@pytest.mark.skipif(shutil.which("wrk") is None, reason="the load comes from wrk (apt-get install)")
@pytest.mark.skipif(find_spec("litserve") is None, reason="litserve is a peer (extra: benchmarks)")
def test_serving(tmp_path: Path) -> None:
    figures = quick("serving", tmp_path, "--artifact", str(DIGITS), "--connections", "2")["figures"]
    failed = {name: figure["note"] for name, figure in figures.items() if figure["note"]}
    assert not failed
    for server in ("ours", "bare uvicorn on our runtime", "BentoML naive", "LitServe"):
        assert figures[f"mnist-vae n=1 PNG, 2 connections, {server}"]["value"] > 0
    assert figures["mnist-vae n=1 PNG, 2 connections, BentoML adaptive batching"]["value"] > 0
    assert figures["mnist-vae n=64 npy, 8 connections, ours"]["ratio"] > 0
    assert figures["mnist-vae encode of 64, 8 connections, ours"]["ratio"] > 0
    assert figures["mnist-vae Open Inference decode of 64, 8 connections, ours"]["ratio"] > 0
    assert figures["mnist-vae n=1 PNG, 2 connections: against others, ours / LitServe"]["ratio"] > 0


def test_sampling(tmp_path: Path) -> None:
    figures = quick("sampling", tmp_path, "--artifact", str(DIGITS))["figures"]
    for kind in ("tar", "parquet"):
        assert figures[f"mnist-vae, 2000 images, {kind}, ours"]["ratio"] > 0
        assert 0 < figures[f"mnist-vae, 2000 images, {kind}: engine busy, ours"]["value"] <= 100
        assert figures[f"mnist-vae, 2000 images, {kind}: memory, ours"]["details"]["after 1%"] > 0


def test_bulk(tmp_path: Path) -> None:
    options = ("--artifact", str(DIGITS), "--pictures", "80")
    figures = quick("bulk", tmp_path, *options)["figures"]
    assert figures["mnist-vae, 80 pictures, ours"]["value"] > 0
    assert figures["mnist-vae, 80 pictures: core time, ours"]["ratio"] > 0
    assert 0 < figures["mnist-vae, 80 pictures: engine busy, ours"]["value"] <= 100
    assert figures["mnist-vae, 80 pictures: memory, ours"]["details"]["after 1%"] > 0


@pytest.mark.skipif(shutil.which("chromedriver") is None, reason="the page needs Chromium")
def test_page(tmp_path: Path) -> None:
    artifacts = alone(tmp_path, ARTIFACTS / "mnist-vae-2d").parent
    options = ("--artifacts", str(artifacts), "--moves", "3", "--loads", "1")
    figures = quick("page", tmp_path, *options)["figures"]
    followed = figures["pointer to image, the page"]
    assert len(followed["rounds"]) == 3
    assert 0 < followed["details"]["min"] <= followed["value"] <= followed["details"]["max"]
    assert figures["load: files, the page"]["details"]["files"] > 10
    assert figures["load: files, the page"]["verdict"] == "at most 300: met"
    assert figures["load: other servers, the page"]["verdict"] == "at most 0: met"
    assert figures["load: first picture, the page"]["value"] > 0


def test_cluster(tmp_path: Path) -> None:
    pytest.importorskip("ray.data", reason="no Ray Data: install the extra `ray`")
    if not can_be_apart():
        pytest.skip("no network namespace (unshare) for Ray here")
    path = tmp_path / "figures.json"
    given = ("--quick", "--images", "300", "--artifact", str(DIGITS), "--json", str(path))
    command = ("python", "-m", "benchmarks", "cluster", *given)
    done = run_apart(*command, environment=os.environ, home=tmp_path, seconds=200)
    assert done.returncode == 0, done.stderr[-4000:]
    figures = json.loads(path.read_text())["figures"]
    assert figures["mnist-vae, 300 images, workers"]["ratio"] > 0
    assert figures["mnist-vae, 300 images: whole command, one process"]["value"] > 0
