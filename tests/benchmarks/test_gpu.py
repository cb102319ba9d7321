"""The GPU benchmark, as far as it can be tried without a GPU: what it makes of figures, what it
leaves out and why, and a whole run in which everything is missing."""

import json
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from benchmarks.figures import Figure, tabulated
from benchmarks.gpu import gpu, variants
from benchmarks.gpu.cases import (
    BATCHES,
    NOT_MEASURED,
    Budget,
    Card,
    Case,
    Cost,
    Result,
    figures_of,
    judge,
    ordered,
    take_turns,
)
from benchmarks.speed.engines import MissingError
from runtime.artifact.tensors import GraphSpec, TensorSpec
from runtime.engines.nvidia import devices
from runtime.engines.nvidia.cuda import CudaRuntime
from runtime.engines.nvidia.devices import Gpu
from runtime.images import ImageSpec
from tests.runtime.engines.nvidia.conftest import cuda, kernel, tensorrt
from tests.runtime.engines.nvidia.fakes import FakeCuda, FakeTensorRT

__all__ = ["cuda", "kernel", "tensorrt"]  # fixtures

ROOT = Path(__file__).parents[2]
DIGITS = ROOT / "artifacts" / "mnist-vae"
CARD = Card("Some GPU", {"fp16": 1e15, "fp32": 5e13}, copy_in=5e10, copy_out=4e10)
COST = Cost(flops=100_000_000, bytes=4000)


def result(batch: int = 256, scale: float = 1.0) -> Result:
    rates = {
        "torch channels-last": [1.0e6, 1.1e6],
        "tensorrt: raw loop, enqueue only": [5.0e6, 5.0e6],
        "tensorrt: raw loop, images copied out": [4.8e6, 4.8e6],
        "ours: tensorrt, sample": [4.5e6, 4.5e6],
        "ours: tensorrt, decode": [4.9e6, 4.9e6],
    }
    scaled = {name: [scale * rate for rate in figures] for name, figures in rates.items()}
    return Result(Case("dcgan32", "fp16", batch), scaled, {"torch.compile": "left out: slow"})


def test_shares_are_of_the_cards_own_best() -> None:
    shares = COST.shares(CARD, "fp16", 1e6)
    assert shares == {"of matrix peak": pytest.approx(0.1), "of copy peak": pytest.approx(0.1)}
    assert COST.shares(CARD, "fp32", 1e5)["of matrix peak"] == pytest.approx(0.2)


def test_what_is_not_known_has_no_share() -> None:
    assert Cost(None, 4000).shares(CARD, "fp16", 1e6) == {"of copy peak": pytest.approx(0.1)}
    assert COST.shares(Card("unmeasured"), "fp16", 1e6) == {}


def test_the_most_telling_cases_come_first() -> None:
    cases = list(ordered("dcgan32", ("fp16", "fp32"), BATCHES))
    assert cases[:3] == [
        Case("dcgan32", "fp16", 256),
        Case("dcgan32", "fp32", 256),
        Case("dcgan32", "fp16", 4096),
    ]
    assert len(set(cases)) == 12
    assert [case.batch for case in ordered("dcgan32", ("fp16",), (8, 1))] == [1, 8]


def test_a_budget_is_shared_equally_and_ends() -> None:
    now = 0.0
    budget = Budget(90, clock=lambda: now)
    part = budget.share(3)
    now = 29.0
    assert not part.is_over
    now = 31.0
    assert part.is_over
    assert budget.left == 59


def test_a_variant_that_fails_stops_no_other() -> None:
    calls = 0

    def fails_later(seconds: float) -> float:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise RuntimeError("an illegal address\nand a long trace")
        return 1.0

    missing = {"absent": "not installed"}
    found = take_turns(
        Case("a", "fp16", 1), {"good": lambda s: s, "bad": fails_later}, missing, 3, 0.5
    )
    assert found.rates == {"good": [0.5, 0.5, 0.5]}
    assert found.missing["bad"] == "FAILED: RuntimeError: an illegal address"
    assert found.missing["absent"] == "not installed"


def test_every_variant_is_compared_with_plain_torch() -> None:
    figures = {figure.variant: figure for figure in figures_of(result(), CARD, COST)}
    enqueue = figures["tensorrt: raw loop, enqueue only"]
    assert enqueue.ratio == pytest.approx((5 + 5 / 1.1) / 2)
    assert enqueue.details["of matrix peak"] == pytest.approx(0.5)
    assert figures["torch.compile"].verdict == "left out: slow"
    assert "of copy peak" in tabulated(list(figures.values())).splitlines()[0]


def bars(results: list[Result], card: Card = CARD) -> dict[str, Figure]:
    differences = {("dcgan32", "tensorrt"): (0.04, 1.0)}
    return {f.name: f for f in judge(results, differences, ["dcgan32"], ["tensorrt"], card)}


def test_ours_is_held_against_the_engine_alone() -> None:
    found = bars([result()])
    prefix = "bar: dcgan32 fp16 x256, ours / raw loop, images copied out, ours: tensorrt"
    assert found[f"{prefix}, sample"].verdict == "at least 0.95: MISSED by 1.3%"
    assert found[f"{prefix}, decode"].verdict == "at least 0.95: met"


def test_the_best_engine_counts_what_reaches_the_host() -> None:
    found = bars([result()])
    (best,) = (f for name, f in found.items() if "best engine" in name)
    assert best.variant == "ours: tensorrt, decode"
    assert best.verdict == "at least 1.5: met"


def test_the_rate_is_the_best_of_all_batches_and_names_the_card() -> None:
    found = bars([result(), result(4096, scale=0.5)])
    (fastest,) = (f for name, f in found.items() if "into host memory" in name)
    assert fastest.variant == "ours: tensorrt, sample x256"
    assert fastest.verdict == "at least 4e+06: met (stated for an H200; this is Some GPU)"
    (fastest,) = (
        f for name, f in bars([result()], Card("NVIDIA H200")).items() if "into host" in name
    )
    assert fastest.verdict == "at least 4e+06: met"


def test_pixels_have_a_bar() -> None:
    figure = bars([])["bar: dcgan32, fp16 - fp32, ours: tensorrt"]
    assert (figure.value, figure.details["largest"]) == (0.04, 1.0)
    assert figure.verdict == "at most 0.5: met"


def test_without_figures_every_bar_says_that_nothing_was_measured() -> None:
    found = judge([], {}, ["dcgan32", "dcgan64"], ["tensorrt", "onnxruntime"], CARD)
    verdicts = [figure.verdict for figure in found]
    assert len(verdicts) == 24
    assert set(verdicts) == {NOT_MEASURED}
    absent = Result(
        Case("dcgan32", "fp16", 256), missing={"ours: tensorrt, sample": "not installed"}
    )
    assert "not measured: not installed" in {figure.verdict for figure in bars([absent]).values()}


def test_markdown_has_a_column_for_each_batch_and_the_reasons() -> None:
    from benchmarks.gpu.report import markdown

    text = markdown([result(256), result(16, scale=0.1)], list(bars([result()]).values()))
    assert "| variant | 16 | 256 |" in text
    assert "| ours: tensorrt, sample | 450 | 4500 |" in text
    assert "- torch.compile: left out: slow (batch 16, 256)" in text
    assert "| dcgan32, fp16 - fp32, ours: tensorrt | 0.04 | at most 0.5: met |" in text


def test_the_plot_is_a_png(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib draws the plots (extra: benchmarks)")
    from benchmarks.gpu.report import draw

    draw(tmp_path / "a.png", "A title", [result(256), result(16, scale=0.1)])
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.format == "PNG"
        assert len(picture.convert("RGB").getcolors(1 << 24) or ()) > 10
    with pytest.raises(ValueError, match="at least one result"):
        draw(tmp_path / "a.png", "A title", [Result(Case("a", "fp16", 1))])


def test_pixels_of_both_precisions_are_compared() -> None:
    session = _session()
    exact = np.full((4, 2, 2, 3), 100, np.uint8)
    near = exact.copy()
    near[0, 0, 0, 0] = 98
    session.images = {
        ("a", "tensorrt", "fp16"): near,
        ("a", "tensorrt", "fp32"): exact,
        ("a", "onnxruntime", "fp16"): near,
    }
    assert session.differences() == {("a", "tensorrt"): (pytest.approx(2 / 48), 2.0)}


def _session() -> variants.Session:
    card = Gpu(0, "Some GPU", (9, 0), 1 << 36)
    return variants.Session(card, 1, 0.0, [], {"tensorrt": "", "onnxruntime": ""})  # pyright: ignore


def test_without_a_gpu_nothing_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "gpus", tuple)
    with pytest.raises(SystemExit, match="nothing was measured: no NVIDIA GPU is visible"):
        gpu.main([])


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "is_installed", lambda flavor: flavor == "tensorrt-rtx")
    assert gpu.missing("tensorrt", None) == "tensorrt is not installed (extra tensorrt)"
    assert gpu.missing("tensorrt-rtx", None) == ""
    assert gpu.missing("tensorrt-rtx", ["tensorrt"]) == "left out: not among --backends"
    monkeypatch.setattr(gpu, "has_cuda", lambda: False)
    assert "extra onnx-gpu" in gpu.missing("onnxruntime", None)


def test_one_process_is_for_one_tensorrt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "is_installed", lambda flavor: True)
    assert "beside tensorrt" in gpu.missing("tensorrt-rtx", None)
    assert gpu.missing("tensorrt-rtx", ["tensorrt-rtx"]) == ""


def test_a_run_in_which_everything_is_missing_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(devices, "gpus", lambda: (Gpu(0, "Some GPU", (9, 0), 1 << 36),))
    monkeypatch.setattr(gpu, "card", lambda session: Card("Some GPU", missing={"copy": "no CUDA"}))
    monkeypatch.setattr(gpu, "missing", lambda backend, asked: "")

    def unable(*_: Any) -> Any:
        raise MissingError("this machine cannot")

    for name in ("_onnxruntime", "_tensorrt", "_ours"):
        monkeypatch.setattr(variants.Opener, name, unable)
    paths = [tmp_path / name for name in ("a.json", "a.md")]
    options = ["--json", str(paths[0]), "--markdown", str(paths[1]), "--batches", "1", "256"]
    gpu.main(["--quick", "--artifact", str(DIGITS), *options])
    record = json.loads(paths[0].read_text())
    assert record["subject"]["gpu"] == "Some GPU"
    figures = record["figures"]
    assert figures["mnist-vae fp16 x256, torch eager"]["note"].startswith("no torch module")
    assert figures["mnist-vae fp32 x1, ours: tensorrt, sample"]["note"] == "this machine cannot"
    assert figures["Some GPU, copy, device to host"]["note"] == "no CUDA"
    assert figures["mnist-vae: latents on the host, one thread"]["value"] > 0
    assert "not measured: this machine cannot" in paths[1].read_text()
    assert "mnist-vae fp16 x256, ours: onnxruntime, sample" in capsys.readouterr().out


def test_when_the_time_is_over_the_rest_is_named() -> None:
    budget = Budget(0)
    case = Case("dcgan32", "fp16", 256)
    found = variants.measure(_session(), None, case, COST, budget)  # pyright: ignore
    assert found.missing == {"all variants": variants.OUT_OF_TIME}
    slow = Cost(3_362_258_944, 3072)
    found = variants.measure(_session(), None, Case("a", "fp16", 1024), slow, budget)  # pyright: ignore
    assert "3.4 TFLOP a run" in found.missing["all variants"]


def test_buffers_hold_a_batch_and_are_given_back(cuda: FakeCuda) -> None:
    from benchmarks.gpu.raw import Buffers

    spec = GraphSpec(
        file="decode.onnx",
        precision="fp32",
        inputs=(TensorSpec(name="latents", role="latents", dtype="float32", shape=(2,)),),
        outputs=(TensorSpec(name="images", role="images", dtype="uint8", shape=(4, 4, 1)),),
    )
    latents = np.arange(6, dtype=np.float32).reshape(3, 2)
    with ExitStack() as opened:
        buffers = Buffers(CudaRuntime(0), spec, {"latents": latents}, 3, opened)
        buffers.copy_in()
        block = cuda.blocks[buffers.device["latents"]][1]
        assert np.frombuffer(block, np.float32).tolist() == [*range(6)]
        assert cuda.used == {0: 3 * (2 * 4 + 16)}
        buffers.copy_out()
        assert cuda.copied_out == 3 * 16


def test_a_loop_waits_once_for_many_runs() -> None:
    from benchmarks.gpu.raw import looped

    calls: list[str] = []
    measure = looped(lambda: calls.append("run"), lambda: calls.append("wait"), 4096)
    assert measure(0.0) > 0
    assert calls == ["run"] * 4 + ["wait"]


def test_copies_are_timed_both_ways(cuda: FakeCuda, monkeypatch: pytest.MonkeyPatch) -> None:
    from benchmarks.gpu import raw

    monkeypatch.setattr(raw, "_COPIED", 1 << 16)
    assert min(raw.copy_speeds(CudaRuntime(0), 2)) > 0


def test_tensorrt_runs_from_the_build_to_the_bars(
    tensorrt: FakeTensorRT, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a fake GPU: all of our own code as it is, an engine that ONNX Runtime stands in for."""
    monkeypatch.setattr(gpu, "is_installed", lambda flavor: flavor == "tensorrt")
    monkeypatch.setattr(gpu, "card", lambda session: CARD)
    monkeypatch.setattr(variants, "_FED_IMAGES", 64)
    monkeypatch.setattr(variants, "_COMPARED", 64)
    monkeypatch.setattr(variants, "JUDGED", 8)
    monkeypatch.setenv("LATENTSERVE_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "figures.json"
    options = ["--json", str(path), "--batches", "8", "--seconds", "0.001", "--rounds", "1"]
    gpu.main(["--artifact", str(DIGITS), *options])
    figures = json.loads(path.read_text())["figures"]
    assert tensorrt.built == 4  # decode and encode, in both precisions
    assert figures["mnist-vae: seconds to build, tensorrt, decode fp16 x8"]["value"] > 0
    for precision in ("fp16", "fp32"):
        case = f"mnist-vae {precision} x8"
        for call in ("sample", "stream", "decode"):
            assert figures[f"{case}, ours: tensorrt, {call}"]["value"] > 0
        for loop in ("enqueue only", "images copied out"):
            figure = figures[f"{case}, tensorrt: raw loop, {loop}"]
            assert figure["details"]["of copy peak"] > 0
    pixels = figures["bar: mnist-vae, fp16 - fp32, ours: tensorrt"]
    assert pixels["verdict"] == "at most 0.5: met"
    assert 0 < pixels["value"] < 0.5


def test_torchs_decoder_computes_in_its_precision_behind_the_same_border() -> None:
    import torch
    from torch import nn

    from benchmarks.gpu.torch import Decoder
    from benchmarks.speed.networks import Network, graph_module

    torch.manual_seed(0)
    layers = nn.Sequential(
        nn.Unflatten(1, (4, 1, 1)), nn.ConvTranspose2d(4, 3, 8), nn.BatchNorm2d(3), nn.Tanh()
    )
    network = Network("tiny", layers.eval(), (4,), ImageSpec(height=8, width=8, channels=3))
    latents = network.inputs(5)
    expected = graph_module(network, "decode")(*latents)[0]
    for channels_last in (False, True):
        exact = Decoder(network, "fp32", channels_last=channels_last)(*latents)
        assert exact.is_contiguous()
        torch.testing.assert_close(exact, expected, rtol=0, atol=1)
        half = Decoder(network, "fp16", channels_last=channels_last)
        assert {p.dtype for p in half.parameters()} == {torch.float16}
        torch.testing.assert_close(half(*latents), expected, rtol=0, atol=2)
    assert {p.dtype for p in network.decode.parameters()} == {torch.float32}


def test_torch_without_a_gpu_says_so() -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("this torch sees a GPU")
    from benchmarks.gpu.torch import matrix_peak

    with pytest.raises(MissingError, match="sees no GPU"):
        matrix_peak("fp16", 1)


def test_the_command_imports_no_engine_before_it_is_needed() -> None:
    code = (
        "import sys, benchmarks.gpu.gpu; "
        "assert not {'torch', 'onnxruntime', 'matplotlib', 'cuda'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
