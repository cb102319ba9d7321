"""A GPU and TensorRT for machines without: memory is the host's, engines are ONNX Runtime's.

They stand in for NVIDIA's libraries call by call, so that all of our own code runs as it is: keys,
buckets, buffers, streams, graphs, several devices, running out of memory. What they cannot tell is
whether the real ones do as they are taken to; `make test-gpu` does, and `test_names.py` that the
real ones have these calls.
"""

import ctypes
import importlib.machinery
import json
import threading
import weakref
from collections.abc import Callable
from enum import IntEnum
from types import ModuleType
from typing import Any

import numpy as np
import onnx
import onnxruntime

from runtime.engines.nvidia.devices import Gpu


class FakeCuda(ModuleType):
    """`cuda.bindings.runtime` on devices of `memory` bytes each."""

    cudaStreamNonBlocking = 1

    class cudaError_t(IntEnum):
        cudaSuccess = 0
        cudaErrorMemoryAllocation = 2
        cudaErrorInvalidValue = 1

    class cudaMemcpyKind(IntEnum):
        cudaMemcpyHostToDevice = 1
        cudaMemcpyDeviceToHost = 2

    class cudaStreamCaptureMode(IntEnum):
        cudaStreamCaptureModeThreadLocal = 1

    def __init__(self, memory: int = 1 << 30) -> None:
        super().__init__("cuda.bindings.runtime")
        self.memory = memory
        self._current = threading.local()
        self.used: dict[int, int] = {}
        self.blocks: dict[int, tuple[int, Any]] = {}
        """Address -> device (-1: the host), block."""
        self.capturing: dict[int, list[Callable[[], None]]] = {}
        self.graphs: dict[int, list[Callable[[], None]]] = {}
        self.streams: dict[int, int] = {}
        """Stream -> device."""
        self.launches = 0
        self.copied_out = 0
        self.drawn = 0
        self.contexts: weakref.WeakSet[Any] = weakref.WeakSet()
        """What holds memory of the device that only its own end gives back."""
        self._next = 1000

    @property
    def device(self) -> int:
        """The calling thread's."""
        return getattr(self._current, "device", 0)

    def number(self) -> int:
        self._next += 1
        return self._next

    def queue(self, stream: int, work: Callable[[], None]) -> None:
        """On a stream, work is done at once, or recorded."""
        assert self.streams[stream] == self.device, "a stream of another device"
        if stream in self.capturing:
            self.capturing[stream].append(work)
        else:
            work()

    def cudaSetDevice(self, device: int) -> tuple[Any]:
        self._current.device = device
        return (self.cudaError_t.cudaSuccess,)

    def cudaGetDeviceCount(self) -> tuple[Any, int]:
        return self.cudaError_t.cudaSuccess, 2

    def cudaMalloc(self, size: int) -> tuple[Any, int]:
        if self.used.get(self.device, 0) + size > self.memory:
            return self.cudaError_t.cudaErrorMemoryAllocation, 0
        self.used[self.device] = self.used.get(self.device, 0) + size
        return self.cudaError_t.cudaSuccess, self._block(size, self.device)

    def cudaFree(self, pointer: int) -> tuple[Any]:
        if not pointer:  # of nothing: it only makes the device's context
            return (self.cudaError_t.cudaSuccess,)
        device, block = self.blocks.pop(pointer)
        self.used[device] -= len(block)
        return (self.cudaError_t.cudaSuccess,)

    def cudaHostAlloc(self, size: int, flags: int) -> tuple[Any, int]:
        return self.cudaError_t.cudaSuccess, self._block(size, -1)

    def cudaFreeHost(self, pointer: int) -> tuple[Any]:
        assert self.blocks.pop(pointer)[0] == -1
        return (self.cudaError_t.cudaSuccess,)

    def cudaStreamCreateWithFlags(self, flags: int) -> tuple[Any, int]:
        stream = self.number()
        self.streams[stream] = self.device
        return self.cudaError_t.cudaSuccess, stream

    def cudaStreamDestroy(self, stream: int) -> tuple[Any]:
        del self.streams[stream]
        return (self.cudaError_t.cudaSuccess,)

    def cudaMemcpyAsync(
        self, target: int, source: int, size: int, kind: int, stream: int
    ) -> tuple[Any]:
        host, device = (source, target) if kind == 1 else (target, source)
        assert self.blocks[host][0] == -1, "not page-locked"
        assert self.blocks[device][0] == self.device
        assert size <= len(self.blocks[device][1])

        def copy() -> None:
            ctypes.memmove(target, source, size)
            self.copied_out += size if kind == 2 else 0

        self.queue(stream, copy)
        return (self.cudaError_t.cudaSuccess,)

    def cudaStreamSynchronize(self, stream: int) -> tuple[Any]:
        assert stream not in self.capturing
        return (self.cudaError_t.cudaSuccess,)

    def cudaStreamBeginCapture(self, stream: int, mode: int) -> tuple[Any]:
        self.capturing[stream] = []
        return (self.cudaError_t.cudaSuccess,)

    def cudaStreamEndCapture(self, stream: int) -> tuple[Any, Any]:
        return self.cudaError_t.cudaSuccess, self.capturing.pop(stream)

    def cudaGraphInstantiate(self, graph: Any, flags: int) -> tuple[Any, int]:
        number = self.number()
        self.graphs[number] = graph
        return self.cudaError_t.cudaSuccess, number

    def cudaGraphDestroy(self, graph: Any) -> tuple[Any]:
        return (self.cudaError_t.cudaSuccess,)

    def cudaGraphLaunch(self, graph: int, stream: int) -> tuple[Any]:
        self.launches += 1
        for work in self.graphs[graph]:
            self.queue(stream, work)
        return (self.cudaError_t.cudaSuccess,)

    def cudaGraphExecDestroy(self, graph: int) -> tuple[Any]:
        del self.graphs[graph]
        return (self.cudaError_t.cudaSuccess,)

    def cudaGetErrorString(self, status: int) -> tuple[Any, bytes]:
        return self.cudaError_t.cudaSuccess, self.cudaError_t(status).name.encode()

    def cudaGetLastError(self) -> tuple[Any]:
        return (self.cudaError_t.cudaSuccess,)

    def _block(self, size: int, device: int) -> int:
        block = (ctypes.c_uint8 * size)()
        pointer = ctypes.addressof(block)
        self.blocks[pointer] = device, block
        return pointer


class FakeDriver(ModuleType):
    """`cuda.bindings.driver`, whose only code is the kernel that draws latents, on the CPU."""

    class CUresult(IntEnum):
        CUDA_SUCCESS = 0

    def __init__(self, cuda: FakeCuda, kernel: Callable[..., None]) -> None:
        super().__init__("cuda.bindings.driver")
        self.cuda = cuda
        self.kernel = kernel

    def cuModuleLoadData(self, image: bytes) -> tuple[Any, int]:
        assert image.startswith(b"\x7fELF")
        return self.CUresult.CUDA_SUCCESS, 7

    def cuModuleGetFunction(self, module: int, name: bytes) -> tuple[Any, int]:
        assert (module, name) == (7, b"normals")
        return self.CUresult.CUDA_SUCCESS, 8

    def cuLaunchKernel(self, function: int, *rest: Any) -> tuple[Any]:
        assert function == 8
        blocks, _, _, threads, _, _, _, stream, (values, types), _ = rest
        given = [kind(value) for kind, value in zip(types, values, strict=True)]
        self.cuda.drawn += 1
        self.cuda.queue(stream, lambda: self.kernel(blocks, threads, *given))
        return (self.CUresult.CUDA_SUCCESS,)

    def cuGetErrorString(self, status: int) -> tuple[Any, bytes]:
        return self.CUresult.CUDA_SUCCESS, b"no error"


class FakeTensorRT(ModuleType):
    """`tensorrt`, whose plans are ONNX files with a note of what was asked for.

    `wrong`: what becomes of the images of a batch, (images, batch) -> images.
    """

    def __init__(self, cuda: FakeCuda, version: str = "11.4.0.106") -> None:
        super().__init__("tensorrt")
        self.__spec__ = importlib.machinery.ModuleSpec("tensorrt", None)
        self.__version__ = version
        self.cuda = cuda
        self.built = 0
        self.wrong: Callable[[np.ndarray, int], np.ndarray] = lambda images, batch: images

    class ILogger:
        class Severity(IntEnum):
            INTERNAL_ERROR, ERROR, WARNING, INFO, VERBOSE = range(5)

    class IProgressMonitor:
        pass

    class BuilderFlag(IntEnum):
        TF32, VERSION_COMPATIBLE = range(2)

    class DataType(IntEnum):
        FLOAT, UINT8, INT64 = 1, 2, 7

    class ExecutionContextAllocationStrategy(IntEnum):
        STATIC, USER_MANAGED = range(2)

    class NetworkDefinitionCreationFlag(IntEnum):
        STRONGLY_TYPED = 1

    class TensorIOMode(IntEnum):
        INPUT, OUTPUT = 1, 2

    def Builder(self, logger: Any) -> "FakeBuilder":
        return FakeBuilder(self)

    def OnnxParser(self, network: "FakeNetwork", logger: Any) -> "FakeParser":
        return FakeParser(network)

    def Runtime(self, logger: Any) -> "FakeRuntime":
        return FakeRuntime(self)


class FakeNetwork:
    model: onnx.ModelProto

    @property
    def num_inputs(self) -> int:
        return len(self.model.graph.input)

    @property
    def num_outputs(self) -> int:
        return len(self.model.graph.output)

    def get_input(self, index: int) -> Any:
        return FakeTensor(self.model.graph.input[index])

    def get_output(self, index: int) -> Any:
        return FakeTensor(self.model.graph.output[index])


class FakeTensor:
    def __init__(self, value: onnx.ValueInfoProto) -> None:
        kind = value.type.tensor_type
        self.name = value.name
        self.dtype = FakeTensorRT.DataType(kind.elem_type)
        self.shape = tuple(dim.dim_value or -1 for dim in kind.shape.dim)


class FakeParser:
    num_errors = 0

    def __init__(self, network: FakeNetwork) -> None:
        self.network = network

    def parse(self, data: bytes) -> bool:
        self.network.model = onnx.load_model_from_string(data)
        return True


class FakeConfig:
    progress_monitor: Any = None

    def __init__(self) -> None:
        self.flags = {FakeTensorRT.BuilderFlag.TF32}
        self.profiles: list[Any] = []
        self.timing = b""

    def clear_flag(self, flag: Any) -> None:
        self.flags.discard(flag)

    def add_optimization_profile(self, profile: Any) -> int:
        self.profiles.append(profile)
        return 0

    def create_timing_cache(self, data: bytes) -> Any:
        return data

    def set_timing_cache(self, cache: bytes, ignore_mismatch: bool) -> bool:
        self.timing = cache if cache.startswith(b"timed") else b""
        return not cache or cache.startswith(b"timed")

    def get_timing_cache(self) -> Any:
        timing = self.timing

        class Timing:
            def serialize(self) -> bytes:
                return timing + b"timed"

        return Timing()


class FakeProfile:
    def __init__(self) -> None:
        self.shapes: dict[str, tuple[Any, Any, Any]] = {}

    def set_shape(self, name: str, smallest: Any, best: Any, largest: Any, /) -> None:
        self.shapes[name] = smallest, best, largest


class FakeBuilder:
    def __init__(self, library: FakeTensorRT) -> None:
        self.library = library

    def create_network(self, flags: int) -> FakeNetwork:
        assert flags == 1 << 1
        return FakeNetwork()

    def create_builder_config(self) -> FakeConfig:
        return FakeConfig()

    def create_optimization_profile(self) -> FakeProfile:
        return FakeProfile()

    def build_serialized_network(self, network: FakeNetwork, config: FakeConfig) -> bytes:
        self.library.built += 1
        note = {
            "flags": sorted(config.flags),
            "profiles": [profile.shapes for profile in config.profiles],
        }
        header = json.dumps(note).encode()
        return len(header).to_bytes(4, "little") + header + network.model.SerializeToString()


def plan_note(data: bytes) -> dict[str, Any]:
    """What a fake plan was built with."""
    return json.loads(data[4 : 4 + int.from_bytes(data[:4], "little")])


class FakeRuntime:
    def __init__(self, library: FakeTensorRT) -> None:
        self.library = library

    def deserialize_cuda_engine(self, data: bytes) -> "FakeEngine | None":
        return FakeEngine(self.library, data[4 + int.from_bytes(data[:4], "little") :])


class FakeEngine:
    device_memory_size_v2 = 4096

    def __init__(self, library: FakeTensorRT, data: bytes) -> None:
        self.library = library
        model = onnx.load_model_from_string(data)
        self.inputs = [FakeTensor(value) for value in model.graph.input]
        self.outputs = [FakeTensor(value) for value in model.graph.output]
        self.tensors = {tensor.name: tensor for tensor in (*self.inputs, *self.outputs)}
        self.session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])

    @property
    def num_io_tensors(self) -> int:
        return len(self.tensors)

    def get_tensor_name(self, index: int) -> str:
        return list(self.tensors)[index]

    def get_tensor_mode(self, name: str) -> Any:
        modes = FakeTensorRT.TensorIOMode
        return modes.INPUT if name in [t.name for t in self.inputs] else modes.OUTPUT

    def get_tensor_dtype(self, name: str) -> Any:
        return self.tensors[name].dtype

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return self.tensors[name].shape

    def create_execution_context(self, strategy: Any) -> "FakeContext":
        assert strategy == FakeTensorRT.ExecutionContextAllocationStrategy.USER_MANAGED
        return FakeContext(self)


class FakeContext:
    def __init__(self, engine: FakeEngine) -> None:
        self.engine = engine
        engine.library.cuda.contexts.add(self)
        self.addresses: dict[str, int] = {}
        self.batch = 0
        self.scratch = 0

    def set_input_shape(self, name: str, shape: Any) -> bool:
        self.batch = shape[0]
        stated = self.engine.tensors[name].shape[0]
        return stated in (-1, self.batch)

    def set_tensor_address(self, name: str, pointer: int) -> bool:
        self.addresses[name] = pointer
        return name in self.engine.tensors

    def set_device_memory(self, pointer: int, size: int) -> None:
        self.scratch = pointer

    def execute_async_v3(self, stream: int) -> bool:
        library = self.engine.library
        assert self.scratch

        def run() -> None:
            inputs = {t.name: self._view(t) for t in self.engine.inputs}
            names = [tensor.name for tensor in self.engine.outputs]
            found = self.engine.session.run(names, inputs)
            for tensor, array in zip(self.engine.outputs, found, strict=True):
                values: Any = array
                if tensor.name == "images":
                    values = library.wrong(values.copy(), self.batch)
                self._view(tensor)[...] = values

        library.cuda.queue(stream, run)
        return True

    def _view(self, tensor: FakeTensor) -> Any:
        kind = onnx.helper.tensor_dtype_to_np_dtype(tensor.dtype)
        shape = (self.batch, *tensor.shape[1:])
        size = int(np.prod(shape)) * kind.itemsize
        assert size <= len(self.engine.library.cuda.blocks[self.addresses[tensor.name]][1])
        return _at(kind, shape, self.addresses[tensor.name])


def fake_gpu(index: int = 0, capability: tuple[int, int] = (9, 0)) -> Gpu:
    return Gpu(index, "Fake H", capability, 1 << 30)


class FakeSession:
    """ONNX Runtime with the CUDA provider: a run is recorded, by its thread and number, the second
    time, and from then on replayed with the addresses that it had."""

    def __init__(self, cuda: FakeCuda, data: bytes, options: dict[str, str]) -> None:
        self.cuda, self.options = cuda, options
        self.stream = int(options["user_compute_stream"])
        self.session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
        self.runs: dict[Any, int] = {}
        self.graphs: dict[Any, Callable[[], None]] = {}
        self.threads: set[int] = set()
        cuda.contexts.add(self)

    def io_binding(self) -> "FakeBinding":
        return FakeBinding()

    def run_with_iobinding(self, binding: "FakeBinding", options: Any) -> None:
        assert options.get_run_config_entry("disable_synchronize_execution_providers") == "1"
        key = threading.get_ident(), options.get_run_config_entry("gpu_graph_id")
        self.threads.add(key[0])
        self.runs[key] = self.runs.get(key, 0) + 1
        inputs, outputs, session = dict(binding.inputs), dict(binding.outputs), self.session

        def run() -> None:
            found = session.run(list(outputs), {n: _at(*t) for n, t in inputs.items()})
            for tensor, array in zip(outputs.values(), found, strict=True):
                _at(*tensor)[...] = array

        if self.runs[key] == 2:
            self.graphs[key] = run
        self.cuda.cudaSetDevice(int(self.options["device_id"]))
        self.cuda.queue(self.stream, self.graphs.get(key, run))


class FakeBinding:
    def __init__(self) -> None:
        self.inputs: dict[str, tuple[Any, ...]] = {}
        self.outputs: dict[str, tuple[Any, ...]] = {}

    def bind_input(self, name: str, kind: str, index: int, *tensor: Any) -> None:
        self.inputs[name] = tensor

    def bind_output(self, name: str, kind: str, index: int, *tensor: Any) -> None:
        self.outputs[name] = tensor


def _at(dtype: Any, shape: tuple[int, ...], pointer: int) -> Any:
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    raw = (ctypes.c_uint8 * size).from_address(pointer)
    return np.ctypeslib.as_array(raw).view(dtype).reshape(shape)
