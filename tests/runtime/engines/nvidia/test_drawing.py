"""Latents drawn on the device: the numbers of `runtime.sampling.streams`, float32 for float32."""

import ctypes
import json
import sys
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import runtime
from runtime.engines.nvidia.cuda import import_cuda
from runtime.engines.nvidia.drawing import ROWS, arguments, compiled, grid, row_parameters
from runtime.sampling.streams import Counter, Draws, Stream, normals
from tests.runtime.engines.nvidia.fakes import FakeCuda
from tests.runtime.engines.nvidia.kernels import Kernel
from tests.runtime.engines.nvidia.test_backends import Build, on_tensorrt
from tests.tiny import write_artifact

REFERENCE = json.loads((Path(__file__).parents[2] / "reference_streams.json").read_text("utf-8"))[
    "normals"
]


def drawn(kernel: Kernel, draws: Draws, stream: Stream = Stream.LATENT) -> np.ndarray:
    """What the kernel makes of them."""
    rows, values = len(draws), int(np.prod(draws.shape))
    parameters = {
        name: np.ascontiguousarray(array, ROWS[name])
        for name, array in row_parameters(draws).items()
    }
    latents = np.full((rows, *draws.shape), np.nan, np.float32)
    pointers = {name: array.ctypes.data for name, array in parameters.items()}
    *given, (kind_of_stream, _) = arguments(pointers, latents.ctypes.data, rows, values)
    given.append((kind_of_stream, int(stream)))
    kernel(*grid(rows, values), *(kind(value) for kind, value in given))
    return latents


@pytest.mark.parametrize("case", REFERENCE, ids=lambda case: case["name"])
def test_the_committed_vectors(kernel: Kernel, case: dict[str, Any]) -> None:
    counter = Counter(case["seed"], case["offset"], len(case["hex"]))
    draws = Draws((case["values"],), ((counter, case["truncation"]),))
    found = drawn(kernel, draws, Stream[case["stream"]])
    assert [row.tobytes().hex() for row in found.astype("<f4")] == case["hex"]


@pytest.mark.parametrize("truncation", [None, 2.0, 0.7, 0.01, 100.0])
@pytest.mark.parametrize("values", [1, 2, 3, 4, 5, 64, 100, 513])
def test_every_float_is_the_same(kernel: Kernel, values: int, truncation: float | None) -> None:
    for seed, offset in ((0, 0), (2**53 - 1, 0), (7, 2**53 - 300), (12345, 2**40 + 1)):
        counter = Counter(seed, offset, 300)
        draws = Draws((values,), ((counter, truncation),))
        expected = normals(counter, Stream.LATENT, values, truncation)
        assert np.array_equal(drawn(kernel, draws), expected)
        assert np.array_equal(np.asarray(draws), expected)


def test_a_million_floats(kernel: Kernel) -> None:
    draws = Draws((4, 8, 8), ((Counter(3, 0, 4096), None),))
    found, expected = drawn(kernel, draws), np.asarray(draws)
    assert found.shape == (4096, 4, 8, 8)
    assert np.array_equal(found, expected)
    assert np.abs(expected).max() > 4.5  # the far tails among them


def test_lanes_draw_at_once(kernel: Kernel) -> None:
    draws = [Draws((64,), ((Counter(seed, 0, 500), None),)) for seed in range(16)]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda rows: drawn(kernel, rows), draws))
    for latents, rows in zip(found, draws, strict=True):
        assert np.array_equal(latents, np.asarray(rows))


def test_rows_of_different_requests(kernel: Kernel) -> None:
    segments = (
        (Counter(1, 10, 3), None),
        (Counter.of_seeds([5, 2**52, 0]), 1.5),
        (Counter(9, 0, 1), 0.2),
    )
    draws = Draws((6,), segments)
    assert np.array_equal(drawn(kernel, draws), np.asarray(draws))
    for start, stop in ((0, 7), (2, 5), (3, 4), (6, 7), (0, 3)):
        part = draws[start:stop]
        assert len(part) == stop - start
        assert np.array_equal(np.asarray(part), np.asarray(draws)[start:stop])
        assert np.array_equal(drawn(kernel, part), np.asarray(draws)[start:stop])


@pytest.mark.skipif(find_spec("cuda") is None, reason="needs cuda-bindings")
@pytest.mark.parametrize("capability", [(7, 5), (8, 9), (9, 0), (12, 0)])
def test_nvrtc_compiles_it(capability: tuple[int, int]) -> None:
    assert compiled(capability).startswith(b"\x7fELF")


@pytest.mark.parametrize("kind", ["plain", "conditional", "vae"])
def test_models_draw_on_the_device(
    artifacts: Path, tmp_path: Path, build: Build, cuda: FakeCuda, kind: str
) -> None:
    folder = artifacts / f"tiny-{kind}"
    build(folder)
    with (
        on_tensorrt(folder, tmp_path) as model,
        runtime.load(folder, backend="onnxruntime", device="cpu", precision="fp32") as reference,
    ):
        before = cuda.launches
        for truncation in (None, 0.7):
            found = model.sample(50, seed=4, truncation=truncation)
            assert np.array_equal(found, reference.sample(50, seed=4, truncation=truncation))
        seeds = [3, 1, 2**53 - 1]
        assert np.array_equal(model.sample(seeds=seeds), reference.sample(seeds=seeds))
        assert cuda.launches > before
        assert cuda.drawn  # recorded: the kernel is part of the graphs
        # Latents that are given go there as they are.
        latents = model.latents(5, seed=1)
        labels = runtime.Sample(5, 1).chosen_labels(model.manifest)
        assert np.array_equal(model.decode(latents, labels), model.sample(5, seed=1))


def test_without_nvrtc_the_host_draws(
    artifacts: Path,
    tmp_path: Path,
    build: Build,
    cuda: FakeCuda,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    folder = artifacts / "tiny-plain"
    build(folder)
    with on_tensorrt(folder, tmp_path) as model:
        expected = model.sample(50, seed=4)
    compiled.cache_clear()
    import_cuda.cache_clear()
    monkeypatch.setitem(sys.modules, "cuda.bindings.nvrtc", None)
    with on_tensorrt(folder, tmp_path) as model:
        assert np.array_equal(model.sample(50, seed=4), expected)
    assert "latents are drawn by the host" in caplog.text
    compiled.cache_clear()
    import_cuda.cache_clear()


def test_mixtures_are_drawn_by_the_host(tmp_path: Path, build: Build, cuda: FakeCuda) -> None:
    folder = write_artifact(tmp_path, "vae", mixture=True)
    build(folder)
    with (
        on_tensorrt(folder, tmp_path) as model,
        runtime.load(folder, backend="onnxruntime", device="cpu", precision="fp32") as reference,
    ):
        for truncation in (None, 0.7):
            found = model.sample(50, seed=4, truncation=truncation)
            assert np.array_equal(found, reference.sample(50, seed=4, truncation=truncation))
        seeds = [3, 1, 2**53 - 1]
        assert np.array_equal(model.sample(seeds=seeds), reference.sample(seeds=seeds))


def test_arguments_are_typed_as_the_kernel_declares_them() -> None:
    given = arguments(dict.fromkeys(ROWS, 1), 2, 3, 4)
    assert [kind for kind, _ in given] == [ctypes.c_void_p] * 6 + [
        ctypes.c_int,
        ctypes.c_int,
        ctypes.c_uint64,
    ]
