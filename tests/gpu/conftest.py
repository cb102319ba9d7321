"""What needs an NVIDIA GPU: `make test-gpu`. Elsewhere all of it is skipped, and says why.

A combination is an artifact on a backend in a precision; TensorRT's plans for it are built first,
in the cache of the session. Collecting these tests imports no engine and no torch.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import product
from pathlib import Path

import numpy as np
import pytest

import runtime
from runtime import Limits, Model
from runtime.artifact.golden import within_tolerance
from runtime.artifact.reading import read_artifact
from runtime.artifact.tensors import Precision
from runtime.engines.nvidia import devices
from runtime.engines.nvidia.plans import Bucket
from runtime.engines.nvidia.tensorrt import is_installed
from runtime.engines.sessions import has_cuda
from runtime.errors import EngineError
from runtime.images import UInt8Array

ARTIFACTS = Path(__file__).parents[2] / "artifacts"
BUCKETS = (1, 16, 64)


@dataclass(frozen=True)
class Combination:
    """What one test runs on."""

    artifact: str
    backend: str
    precision: Precision

    @property
    def folder(self) -> Path:
        return ARTIFACTS / self.artifact

    def __str__(self) -> str:
        return f"{self.artifact}-{self.backend}-{self.precision}"

    def load(self, **options: object) -> Model:
        """The model, at most 64 images a run unless `options` say otherwise."""
        given = {"device": "cuda", "limits": Limits(batch=max(BUCKETS)), **options}
        return runtime.load(
            self.folder,
            backend=self.backend,
            precision=self.precision,
            **given,  # pyright: ignore[reportArgumentType]
        )


COMBINATIONS = [
    *map(
        Combination,
        *zip(
            *product(
                ("mnist-vae", "mnist-cgan", "cifar10-frogs-dcgan"),
                ("tensorrt", "tensorrt-rtx", "onnxruntime"),
                ("fp32", "fp16"),
            ),
            strict=True,
        ),
    ),
    Combination("cifar10-frogs-dcgan", "tensorrt", "bf16"),
    Combination("cifar10-frogs-dcgan", "tensorrt-rtx", "bf16"),
]


# Without a GPU one is enough to say that all are skipped.
@pytest.fixture(
    scope="session", params=COMBINATIONS if devices.gpus() else COMBINATIONS[:1], ids=str
)
def combination(request: pytest.FixtureRequest, engine_cache: Path) -> Combination:
    """One after another: all tests of a combination run before the next is built and loaded."""
    chosen: Combination = request.param
    skip_unless_it_runs(chosen.backend)
    if chosen.backend != "onnxruntime":
        build(chosen, engine_cache)
    return chosen


@pytest.fixture(scope="session")
def model(combination: Combination) -> Iterator[Model]:
    with combination.load() as opened:
        yield opened


@pytest.fixture(scope="session")
def reference(combination: Combination) -> Iterator[Model]:
    """The same artifact in fp32 on the CPU."""
    with runtime.load(
        combination.folder, backend="onnxruntime", precision="fp32", device="cpu"
    ) as opened:
        yield opened


def skip_unless_it_runs(backend: str) -> None:
    """Skip, with the reason, where there is no GPU or not the backend's library."""
    if not devices.gpus():
        pytest.skip("no NVIDIA GPU is visible")
    if backend == "onnxruntime" and not has_cuda():
        pytest.skip("this onnxruntime has no CUDA provider (extra onnx-gpu)")
    if (backend == "tensorrt" or backend == "tensorrt-rtx") and not is_installed(backend):
        pytest.skip(f"{backend} is not installed (extra {backend})")
    if backend == "tensorrt-rtx" and is_installed("tensorrt"):
        # Both libraries define the same symbols: one process is for one of them.
        pytest.skip("beside tensorrt: make test-gpu FLAVOR=tensorrt-rtx runs it")


@cache
def build(combination: Combination, folder: Path) -> None:
    """Build, verify and keep the plans; skip on a GPU that the flavor is not made for."""
    from export.engine import EngineOptions, build_engines

    assert combination.backend == "tensorrt" or combination.backend == "tensorrt-rtx"
    buckets = tuple(Bucket.of(batch) for batch in BUCKETS)
    options = EngineOptions(combination.backend, combination.precision, buckets)
    try:
        built = list(build_engines(read_artifact(combination.folder), options, folder))
    except EngineError as error:
        if "a compute capability it builds for" in str(error):
            pytest.skip(str(error))
        raise
    assert not [plan.error for plan in built if plan.error]
    assert all(plan.verified for plan in built)


def assert_near(found: UInt8Array, expected: UInt8Array, precision: Precision) -> None:
    """Within the tolerance that all backends have, `runtime.artifact.golden`'s."""
    assert (found.shape, found.dtype) == (expected.shape, expected.dtype)
    levels = np.abs(found.astype(np.int16) - expected)
    mean, largest = float(levels.mean()), float(levels.max())
    assert within_tolerance(precision, mean, largest, len(found)), (mean, largest)
