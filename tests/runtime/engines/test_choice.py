"""Which variant runs an artifact: pixels before speed, measured once, kept for one machine."""

import json
import logging
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import runtime
from runtime import EngineError, InputError
from runtime.artifact.reading import Artifact, read_artifact
from runtime.engines import choice, measuring
from runtime.engines.backend import REFERENCE, Backend, Inputs, Setting, Tensors, Variant
from runtime.engines.cache import cache_folder, recall, remember
from runtime.engines.choice import Chosen, choose, choose_anew
from runtime.engines.library import EngineRequest
from runtime.engines.measuring import Measured
from runtime.engines.openvino import is_installed, precisions
from runtime.engines.registry import candidates, engines, open_backend
from tests.sized import write_sized

SETTING = Setting(runners=2, threads=1, batch=16)


@pytest.fixture
def artifact(artifacts: Path) -> Artifact:
    return read_artifact(artifacts / "tiny-conditional")


class Altered:
    """A backend whose pixels are off by some levels."""

    def __init__(self, inner: Backend, levels: int) -> None:
        self.inner, self.levels = inner, levels
        self.description = "altered"
        self.engine = ""

    def run(self, graph: str, inputs: Inputs, out: Tensors | None = None) -> Tensors:
        images = self.inner.run(graph, inputs)["images"].astype(int) + self.levels
        return {"images": images.clip(0, 255).astype(np.uint8)}

    def close(self) -> None:
        self.inner.close()


@pytest.fixture
def alter(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, int], None]:
    """`alter(engine, levels)`: that engine's pixels are off."""

    def alter(engine: str, levels: int) -> None:
        def opened(artifact: Artifact, variant: Variant, *others: Any) -> Any:
            made = open_backend(artifact, variant, *others)
            return Altered(made, levels) if variant.engine == engine else made

        monkeypatch.setattr(choice, "open_backend", opened)

    return alter


@pytest.fixture
def speeds(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """`speeds(onnxruntime=100, openvino=200)`: images a second, as if measured; of batches and of
    single images where two are stated."""

    def speeds(**by_engine: float | tuple[float, float]) -> None:
        def speed(backend: Any, graph: str, inputs: Tensors, *others: Any) -> float:
            name = (
                "openvino" if "openvino" in getattr(backend, "inner", backend).description else ""
            )
            stated = by_engine[name or "onnxruntime"]
            batches, singles = stated if isinstance(stated, tuple) else (stated, stated)
            return singles if len(next(iter(inputs.values()))) == 1 else batches

        monkeypatch.setattr(measuring, "_speed", speed)

    return speeds


EXACT = EngineRequest("auto", "fp32", "cpu")


def choose_at(artifact: Artifact, cache: Path, setting: Setting = SETTING) -> Chosen:
    found = choose(artifact, EXACT, lambda _: setting, cache)
    found.backend.close()
    return found


def chosen(artifact: Artifact, cache: Path) -> Variant:
    return choose_at(artifact, cache).variant


def test_the_fastest_is_chosen_and_remembered(
    artifact: Artifact, tmp_path: Path, speeds: Callable[..., None]
) -> None:
    speeds(onnxruntime=100.0, openvino=200.0)
    assert chosen(artifact, tmp_path).engine == "openvino"
    speeds(onnxruntime=300.0, openvino=200.0)  # not looked at: it was measured before
    assert chosen(artifact, tmp_path).engine == "openvino"
    assert chosen(artifact, tmp_path / "other").engine == "onnxruntime"
    choose_anew(artifact, EXACT, lambda _: SETTING, tmp_path, latents=32)
    assert chosen(artifact, tmp_path).engine == "onnxruntime"


def test_a_simpler_variant_wins_a_tie(
    artifact: Artifact, tmp_path: Path, speeds: Callable[..., None]
) -> None:
    speeds(onnxruntime=100.0, openvino=102.0)
    assert chosen(artifact, tmp_path) == REFERENCE


@pytest.mark.parametrize(
    ("openvino", "expected"),
    [
        ((1050.0, 300.0), "onnxruntime"),  # a little faster in batches, much slower with one
        ((1080.0, 990.0), "openvino"),
        ((1200.0, 300.0), "openvino"),  # batches count first
        ((950.0, 3000.0), "openvino"),
    ],
)
def test_single_images_count_where_batches_are_about_as_fast(
    artifact: Artifact,
    tmp_path: Path,
    speeds: Callable[..., None],
    openvino: tuple[float, float],
    expected: str,
) -> None:
    speeds(onnxruntime=(1000.0, 1000.0), openvino=openvino)
    assert chosen(artifact, tmp_path).engine == expected


def test_a_fast_variant_with_wrong_pixels_is_not_chosen(
    artifact: Artifact,
    tmp_path: Path,
    speeds: Callable[..., None],
    alter: Callable[[str, int], None],
) -> None:
    speeds(onnxruntime=100.0, openvino=900.0)
    alter("openvino", 2)
    assert chosen(artifact, tmp_path).engine == "onnxruntime"
    request = EngineRequest("openvino", "fp32", "cpu")
    remembered = len(list((tmp_path / "choices").iterdir()))
    with pytest.raises(EngineError, match="no way .* right pixels: openvino fp32 .* outside the"):
        choose_anew(artifact, request, lambda _: SETTING, tmp_path, latents=32)
    assert len(list((tmp_path / "choices").iterdir())) == remembered


def test_what_is_remembered_is_for_these_runs_only(
    artifact: Artifact, tmp_path: Path, speeds: Callable[..., None]
) -> None:
    speeds(onnxruntime=100.0, openvino=200.0)
    assert chosen(artifact, tmp_path).engine == "openvino"
    speeds(onnxruntime=300.0, openvino=200.0)
    other = replace(SETTING, runners=1)
    found = choose_at(artifact, tmp_path, other)
    assert found.variant.engine == "onnxruntime"
    assert found.reason.startswith(
        "measured 300 images/s (300 one at a time), against openvino fp32"
    )


def test_a_damaged_memory_is_measured_anew(
    artifact: Artifact, tmp_path: Path, speeds: Callable[..., None]
) -> None:
    speeds(onnxruntime=100.0, openvino=200.0)
    chosen(artifact, tmp_path)
    (record,) = (tmp_path / "choices").iterdir()
    whole = record.read_text()
    good = json.loads(whole)["value"]["chosen"]
    speeds(onnxruntime=300.0, openvino=200.0)

    def stating(value: Any) -> bytes:
        return json.dumps(json.loads(whole) | {"value": value}).encode()

    for data in (
        b"",
        whole[:40].encode(),
        b"[]",
        b"null",
        b"[" * 100_000,
        b'{"subject":' * 100_000,
        b"1" * 100_000,
        whole.replace("{", '{"x": ' + "9" * 10_000 + ",", 1).encode(),
        bytes(range(256)),
        b" " * (2 << 20) + whole.encode(),
        *map(stating, (None, 1, "x", [], {}, {"chosen": None}, {"chosen": [good]})),
        *(stating({"chosen": good | {key: wrong}}) for key in good for wrong in ([], {}, 1, "x")),
        stating({"chosen": good | {"more": 1}}),
        # Well formed, but not what was asked for, or not what this machine has.
        stating({"chosen": good | {"precision": "bf16"}}),
        stating({"chosen": good | {"engine": "tensorrt", "device": "cuda"}}),
        stating({"chosen": good | {"engine": "onnxruntime", "device": "cuda"}}),
    ):
        record.write_bytes(data)
        assert chosen(artifact, tmp_path).engine == "onnxruntime", data[:80]


@pytest.mark.parametrize("what", ["a folder", "a pipe", "endless", "a loop", "not readable"])
def test_a_memory_that_is_no_file_is_measured_anew(
    artifact: Artifact, tmp_path: Path, speeds: Callable[..., None], what: str
) -> None:
    speeds(onnxruntime=100.0, openvino=200.0)
    chosen(artifact, tmp_path)
    (record,) = (tmp_path / "choices").iterdir()
    speeds(onnxruntime=300.0, openvino=200.0)
    if what == "not readable":
        record.chmod(0)  # of no effect for root, who then reads what was measured
        if os.access(record, os.R_OK):
            record.write_text("")
    else:
        record.unlink()
    match what:
        case "a folder":
            (record / "x").mkdir(parents=True)
        case "a pipe":
            os.mkfifo(record)
        case "endless":
            record.symlink_to("/dev/zero")
        case "a loop":
            record.symlink_to(record)
        case _:
            pass
    assert chosen(artifact, tmp_path).engine == "onnxruntime"


def test_a_cache_that_cannot_be_written_costs_time_only(
    artifact: Artifact, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    in_the_way = tmp_path / "file"
    in_the_way.write_text("")
    with caplog.at_level(logging.INFO):
        assert chosen(artifact, in_the_way)
    assert "cannot be written" in caplog.text


def test_a_variant_that_cannot_be_opened_is_left_out(
    artifact: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def opened(artifact: Artifact, variant: Variant, *others: Any) -> Backend:
        if variant.engine == "openvino":
            raise EngineError("no room")
        return open_backend(artifact, variant, *others)

    monkeypatch.setattr(choice, "open_backend", opened)
    assert chosen(artifact, tmp_path).engine == "onnxruntime"
    # Not for ever: what failed now may run the next time.
    assert not list(tmp_path.rglob("*.json"))


def test_the_winner_stays_open_and_the_others_are_closed(
    artifact: Artifact,
    tmp_path: Path,
    speeds: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    events: list[tuple[str, str]] = []

    class Noted(Altered):
        def close(self) -> None:
            events.append(("closed", self.engine))
            super().close()

    def opened(artifact: Artifact, variant: Variant, *others: Any) -> Any:
        events.append(("opened", variant.engine))
        noted = Noted(open_backend(artifact, variant, *others), 0)
        noted.engine = variant.engine
        noted.description = noted.inner.description
        return noted

    monkeypatch.setattr(choice, "open_backend", opened)
    speeds(onnxruntime=100.0, openvino=200.0)
    found = choose(artifact, EXACT, lambda _: SETTING, tmp_path)
    assert found.variant.engine == "openvino"
    count = events.count
    assert count(("opened", "openvino")) == count(("closed", "openvino")) + 1
    assert count(("opened", "onnxruntime")) == count(("closed", "onnxruntime"))
    inputs = measuring._inputs(artifact, found.backend, 0, 4)
    assert len(found.backend.run("decode", inputs)["images"]) == 4
    found.backend.close()


def test_engines_are_found_by_name_and_import_no_library() -> None:
    assert list(engines()) == ["onnxruntime", "openvino", "tensorrt", "tensorrt-rtx"]
    code = (
        "import sys; from runtime.engines.registry import engines; engines(); "
        "print([m for m in ('onnxruntime', 'openvino', 'tensorrt') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"


def test_loading_tells_what_was_chosen_and_why(
    artifacts: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    speeds: Callable[..., None],
) -> None:
    speeds(onnxruntime=200.0, openvino=100.0)
    with caplog.at_level(logging.INFO):
        for _ in range(2):
            runtime.load(artifacts / "tiny-plain", cache=tmp_path).close()
    first, second = (r.getMessage() for r in caplog.records if r.name == "runtime.loading")
    assert "(measured " in first
    assert "against openvino fp32" in first
    assert "(the fastest when measured here earlier), " in second


@pytest.mark.parametrize("kind", ["plain", "conditional", "vae"])
def test_every_engine_gives_the_same_pixels(artifacts: Path, kind: str) -> None:
    folder = artifacts / f"tiny-{kind}"
    with (
        runtime.load(folder, backend="onnxruntime", precision="fp32") as one,
        runtime.load(folder, backend="openvino", precision="fp32") as other,
    ):
        assert "openvino" in other.engine
        a, b = one.sample(70, seed=3), other.sample(70, seed=3)
        assert np.abs(a.astype(int) - b).max() <= 1
        if "encode" in one.manifest.graphs:
            np.testing.assert_allclose(one.encode(a).mean, other.encode(a).mean, atol=1e-3)


def test_candidates_begin_with_the_reference(artifact: Artifact, tmp_path: Path) -> None:
    found = candidates(artifact, EngineRequest(device="cpu"), tmp_path)
    assert found[0] == REFERENCE
    assert len(set(found)) == len(found)
    assert {v.engine for v in found} == {"onnxruntime", "openvino"}
    assert {v.precision for v in found} == set(precisions())


@pytest.mark.skipif("bf16" in precisions(), reason="this CPU has bf16")
def test_arithmetic_that_the_cpu_lacks_is_refused(artifacts: Path) -> None:
    for backend in ("auto", "openvino"):
        with pytest.raises(InputError, match=r"precision: expected one that runs here: \('auto'"):
            runtime.load(artifacts / "tiny-plain", backend=backend, precision="bf16")


def test_bf16_may_differ_more_than_fp32() -> None:
    for precision, mean, largest, images, fits in (
        ("fp32", 0.0, 1, 256, True),
        ("fp32", 0.0, 2, 10_000, False),
        ("bf16", 0.4, 4, 10_000, True),
        ("bf16", 0.6, 4, 10_000, False),
        ("bf16", 0.1, 5, 10_000, False),
        ("bf16", float("nan"), 4, 10_000, False),
        # A few images seldom show the largest difference: less is allowed.
        ("bf16", 0.1, 2, 256, True),
        ("bf16", 0.1, 3, 256, False),
    ):
        variant = Variant("openvino", precision, "plain")  # pyright: ignore[reportArgumentType]
        assert Measured(variant, 1.0, 1.0, mean, largest, images).is_acceptable is fits


def test_a_gpu_is_not_for_openvino(artifact: Artifact, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="device: expected 'cpu' or 'auto' with .* found 'cuda'"):
        candidates(artifact, EngineRequest("openvino", "fp32", "cuda"), tmp_path)


def test_a_remembered_choice_imports_no_other_engine(artifacts: Path, tmp_path: Path) -> None:
    code = (
        "import runtime, sys; runtime.load({!r}, backend='openvino', precision='fp32', "
        "cache=__import__('pathlib').Path({!r})); print([m for m in ('onnxruntime', 'openvino') "
        "if m in sys.modules])"
    ).format(str(artifacts / "tiny-plain"), str(tmp_path))
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "['openvino']"


def test_slow_networks_are_compared_on_fewer_images(artifact: Artifact, tmp_path: Path) -> None:
    ran: list[int] = []

    class Slow(Altered):
        def run(self, graph: str, inputs: Inputs, out: Tensors | None = None) -> Tensors:
            ran.append(len(inputs["latents"]))
            time.sleep(0.01 * len(inputs["latents"]))
            return super().run(graph, inputs)

    slow = {REFERENCE: Slow(open_backend(artifact, REFERENCE, SETTING, tmp_path), 0)}
    (measured,) = measuring.measure(artifact, [REFERENCE], slow, SETTING, seconds=0.01)  # pyright: ignore[reportArgumentType]
    assert measured.images < 100
    assert sum(ran) < 400


@pytest.mark.parametrize(("affords", "size"), [(1.0, "smallest"), (1e6, "default")])
def test_a_slow_network_is_timed_at_the_largest_affordable_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, affords: float, size: str
) -> None:
    artifact = read_artifact(write_sized(tmp_path))
    ran: list[tuple[int, ...]] = []

    class Clock:
        now = 0.0

        def perf_counter(self) -> float:
            return self.now

    class Slow(Altered):
        def run(self, graph: str, inputs: Inputs, out: Tensors | None = None) -> Tensors:
            ran.append(inputs["latents"].shape[2:])
            clock.now += np.size(inputs["latents"])
            return super().run(graph, inputs)

    clock = Clock()
    monkeypatch.setattr(measuring, "time", clock)
    monkeypatch.setattr(measuring, "_LARGE", 0)
    monkeypatch.setattr(measuring, "_AFFORDED_IMAGE", affords)
    slow = {REFERENCE: Slow(open_backend(artifact, REFERENCE, SETTING, tmp_path), 0)}
    measuring.measure(artifact, [REFERENCE], slow, SETTING, seconds=0.01)  # pyright: ignore[reportArgumentType]
    expected = getattr(artifact.manifest, f"{size}_size")
    assert ran[-1] == tuple(value // 2 for _, value in expected)


def test_the_cache_is_where_the_environment_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LATENTSERVE_CACHE", str(tmp_path / "a"))
    assert cache_folder() == tmp_path / "a"
    monkeypatch.delenv("LATENTSERVE_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "latentserve"


def test_what_is_remembered_comes_back_for_its_subject_alone(tmp_path: Path) -> None:
    remember(tmp_path, "things", {"a": 1}, {"x": [1, 2]})
    assert recall(tmp_path, "things", {"a": 1}) == {"x": [1, 2]}
    assert recall(tmp_path, "things", {"a": 2}) is None
    assert [path.suffix for path in (tmp_path / "things").iterdir()] == [".json"]


RACE = """
import sys, threading
from runtime.engines.openvino import precisions
precisions()
import openvino
sys.setswitchinterval(1e-6)
barrier = threading.Barrier(4)
def meet_an_array():
    barrier.wait()
    for _ in range(50):
        openvino.Type.f32.to_dtype()
threads = [threading.Thread(target=meet_an_array) for _ in range(4)]
for thread in threads: thread.start()
for thread in threads: thread.join()
"""


@pytest.mark.skipif(not is_installed(), reason="openvino is not installed")
def test_threads_that_meet_openvino_together_do_not_hang() -> None:
    # Without what `_import_openvino` does first, this hangs nearly always.
    subprocess.run([sys.executable, "-c", RACE], check=True, timeout=60)


def test_a_model_can_be_loaded_again_as_it_was(
    artifact: Artifact, tmp_path: Path, speeds: Callable[..., None]
) -> None:
    speeds(onnxruntime=100.0, openvino=200.0)
    with runtime.load(artifact, precision="fp32", cache=tmp_path) as model:
        assert model.variant.engine == "openvino"
        images = model.sample(3, seed=1)
    # An empty cache, and other speeds: nothing is measured, nothing remembered.
    speeds(onnxruntime=300.0, openvino=200.0)
    elsewhere = tmp_path / "elsewhere"
    with runtime.load(artifact, backend=model.variant, cache=elsewhere) as again:
        assert again.variant == model.variant
        assert np.abs(again.sample(3, seed=1).astype(int) - images).max() <= 1
    assert not elsewhere.exists()
