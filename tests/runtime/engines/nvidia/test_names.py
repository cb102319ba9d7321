"""The calls that the fakes stand in for exist in NVIDIA's own libraries."""

import importlib
import inspect
from enum import IntEnum
from importlib.util import find_spec
from pathlib import Path

import pytest

from runtime.engines.nvidia import devices
from runtime.engines.nvidia.cuda import CudaRuntime
from runtime.engines.nvidia.tensorrt import import_tensorrt, is_installed
from runtime.errors import EngineError
from tests.runtime.engines.nvidia.fakes import FakeCuda, FakeDriver
from tests.runtime.engines.nvidia.names import compiler, described, missing, tensorrt_names

needs_bindings = pytest.mark.skipif(
    find_spec("tensorrt_bindings") is None or not compiler(),
    reason="needs tensorrt-cu13-bindings and a C compiler",
)
needs_rtx = pytest.mark.skipif(
    not is_installed("tensorrt-rtx"), reason="needs latentserve[tensorrt-rtx]"
)
needs_cuda = pytest.mark.skipif(find_spec("cuda") is None, reason="needs cuda-bindings")


@needs_bindings
def test_tensorrt_has_every_name() -> None:
    spec = find_spec("tensorrt_bindings")
    assert spec is not None
    assert spec.origin is not None
    real = tensorrt_names(Path(spec.origin).parent.parent)
    assert missing(real) == []
    real["Builder"].remove("create_network")
    del real["Runtime"]
    assert missing(real) == ["Builder.create_network", "Runtime"]


@needs_rtx
def test_tensorrt_for_rtx_has_every_name() -> None:
    library = import_tensorrt("tensorrt-rtx")
    real = {name: dir(value) for name, value in vars(library).items() if isinstance(value, type)}
    assert missing(real, rtx=True) == []


def test_the_description_is_not_empty() -> None:
    names = described(rtx=False)
    assert {"set_tensor_address", "execute_async_v3"} <= names["IExecutionContext"]
    assert "num_compute_capabilities" not in names["IBuilderConfig"]
    assert "num_compute_capabilities" in described(rtx=True)["IBuilderConfig"]


@needs_cuda
@pytest.mark.parametrize(("fake", "module"), [(FakeCuda, "runtime"), (FakeDriver, "driver")])
def test_cuda_has_every_name_of_the_fake(fake: type, module: str) -> None:
    real = importlib.import_module(f"cuda.bindings.{module}")
    for name, value in vars(fake).items():
        if not name.startswith(("cuda", "cu", "CU")):
            continue
        assert hasattr(real, name), name
        if inspect.isclass(value) and issubclass(value, IntEnum):
            assert all(hasattr(getattr(real, name), member) for member in value.__members__), name


def test_onnx_runtime_knows_the_keys_that_it_is_given() -> None:
    """It ignores those that it does not know, without a word."""
    import onnxruntime

    (library,) = Path(onnxruntime.__file__).parent.glob("capi/onnxruntime_pybind11_state*.so")
    known = library.read_bytes()
    for key in (b"gpu_graph_id", b"disable_synchronize_execution_providers"):
        assert b"\0" + key + b"\0" in known


@needs_cuda
@pytest.mark.skipif(bool(devices.gpus()), reason="a GPU is here")
def test_cuda_without_a_driver_is_an_error_with_its_words() -> None:
    with pytest.raises(EngineError, match="CUDA device 0: cudaSetDevice: .*driver"):
        CudaRuntime(0)
