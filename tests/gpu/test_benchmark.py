"""`python -m benchmarks gpu` runs through on this GPU; its figures mean nothing here."""

import json
from pathlib import Path

import pytest

from tests.gpu.conftest import skip_unless_it_runs

pytestmark = [pytest.mark.xdist_group("gpu"), pytest.mark.timeout(600)]


def test_a_quick_run_measures_all_that_is_installed(tmp_path: Path) -> None:
    skip_unless_it_runs("any")
    pytest.importorskip("torch", reason="the reference networks are torch's (extra export)")
    from benchmarks.gpu import gpu

    path = tmp_path / "figures.json"
    gpu.main(["--quick", "--json", str(path), "--minutes", "5"])
    record = json.loads(path.read_text())
    failed = {n: f["note"] for n, f in record["figures"].items() if "FAILED" in f["note"]}
    assert not failed
    measured = [name for name, figure in record["figures"].items() if figure["value"] is not None]
    for backend in ("tensorrt", "onnxruntime"):
        if backend not in record["subject"]["left out"]:
            assert f"vae32 fp16 x256, ours: {backend}, sample" in measured
