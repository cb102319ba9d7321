"""What happens on a GPU when memory, plans or a backend are missing."""

import logging
from pathlib import Path

import pytest

import runtime
from runtime import EngineError, Limits
from runtime.engines.nvidia.cuda import CudaRuntime, OutOfDeviceMemoryError
from tests.gpu.conftest import (
    ARTIFACTS,
    Combination,
    assert_near,
    build,
    skip_unless_it_runs,
)

pytestmark = [pytest.mark.xdist_group("gpu"), pytest.mark.timeout(600)]

BACKENDS = ("tensorrt", "tensorrt-rtx", "onnxruntime")
DIGITS = ARTIFACTS / "mnist-vae"
IMAGE = 28 * 28


@pytest.fixture(params=BACKENDS)
def digits(request: pytest.FixtureRequest, engine_cache: Path) -> Combination:
    skip_unless_it_runs(request.param)
    combination = Combination("mnist-vae", request.param, "fp32")
    if request.param != "onnxruntime":
        build(combination, engine_cache)
    return combination


def test_without_room_for_a_bucket_smaller_ones_give_the_same_images(
    digits: Combination, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with digits.load() as model:
        expected = model.sample(200, seed=1)
    allocate = CudaRuntime.allocate

    def limited(cuda: CudaRuntime, size: int) -> int:
        if size == 64 * IMAGE:
            raise OutOfDeviceMemoryError("a limit of this test")
        return allocate(cuda, size)

    monkeypatch.setattr(CudaRuntime, "allocate", limited)
    with caplog.at_level(logging.WARNING), digits.load() as model:
        assert model.max_batch == 16
        assert_near(model.sample(200, seed=1), expected, "fp32")
    assert "not enough device memory for batches of 64: going on with 16" in caplog.text


def test_without_room_for_any_it_is_an_error(
    digits: Combination, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(cuda: CudaRuntime, size: int) -> int:
        raise OutOfDeviceMemoryError("a limit of this test")

    monkeypatch.setattr(CudaRuntime, "allocate", full)
    with pytest.raises(EngineError, match="not enough device memory"):
        digits.load()


def test_batches_above_the_manifests_are_run_at_once(digits: Combination) -> None:
    if digits.backend != "onnxruntime":
        pytest.skip("its plans are of fixed sizes")
    with digits.load() as usual, digits.load(limits=Limits(batch=512)) as wide:
        assert wide.max_batch == 512
        assert_near(wide.sample(700, seed=2), usual.sample(700, seed=2), "fp32")


@pytest.mark.parametrize("backend", ["tensorrt", "tensorrt-rtx"])
def test_a_missing_plan_is_an_error_that_gives_the_command(backend: str, tmp_path: Path) -> None:
    skip_unless_it_runs(backend)
    with pytest.raises(EngineError, match=f"python -m export engine .* --flavor {backend}"):
        runtime.load(DIGITS, backend=backend, precision="fp32", cache=tmp_path)


def test_without_a_plan_the_choice_falls_on_onnxruntime(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    skip_unless_it_runs("tensorrt")
    skip_unless_it_runs("onnxruntime")
    with (
        caplog.at_level(logging.WARNING),
        runtime.load(DIGITS, device="cuda", precision="fp32", cache=tmp_path) as model,
    ):
        assert "onnxruntime" in model.engine
    assert "python -m export engine" in caplog.text
