"""Engines on a GPU called directly, as their documentation shows: the comparison for ours.

Each loop runs one ready made batch again and again, in page-locked memory, on one stream, and
throws the images away.
"""

import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from functools import partial
from math import prod
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.speed.engines import Measure
from benchmarks.speed.timing import rate
from runtime.artifact.tensors import GraphSpec
from runtime.engines.nvidia.cuda import Cuda
from runtime.engines.nvidia.devices import Gpu
from runtime.engines.nvidia.plans import Plan
from runtime.engines.nvidia.tensorrt import import_tensorrt, logger_of
from runtime.engines.sessions import CUDA, import_onnxruntime
from runtime.errors import EngineError

_COPIED = 256 << 20
_COPIES = 8


class Buffers:
    """A batch of a graph's tensors on the device and, page-locked, on the host."""

    def __init__(
        self,
        cuda: Cuda,
        spec: GraphSpec,
        inputs: Mapping[str, NDArray[Any]],
        batch: int,
        opened: ExitStack,
    ) -> None:
        self.device: dict[str, int] = {}
        self.stream = cuda.create_stream()
        opened.callback(cuda.destroy_stream, self.stream)
        self._cuda, self._spec = cuda, spec
        self._host: dict[str, NDArray[Any]] = {}
        for tensor in (*spec.inputs, *spec.outputs):
            shape = (batch, *tensor.at())
            size = prod(shape) * np.dtype(tensor.dtype).itemsize
            self.device[tensor.name] = cuda.allocate(size)
            opened.callback(cuda.free, self.device[tensor.name])
            bytes_ = cuda.allocate_host(size)
            opened.callback(cuda.free_host, bytes_)
            self._host[tensor.name] = bytes_.view(tensor.dtype).reshape(shape)
            if tensor.name in inputs:
                self._host[tensor.name][...] = inputs[tensor.name]

    def copy_in(self) -> None:
        for tensor in self._spec.inputs:
            self._cuda.copy_in(self.device[tensor.name], self._host[tensor.name], self.stream)

    def copy_out(self) -> None:
        for tensor in self._spec.outputs:
            self._cuda.copy_out(self._host[tensor.name], self.device[tensor.name], self.stream)

    def wait(self) -> None:
        self._cuda.synchronize(self.stream)


def looped(run: Callable[[], None], wait: Callable[[], None], batch: int) -> Measure:
    """Runs are queued one after another; every so many images, all of them are waited for."""
    runs = max(4, min(256, 8192 // batch))

    def one() -> int:
        for _ in range(runs):
            run()
        wait()
        return runs * batch

    return partial(rate, one)


def onnxruntime_loop(
    data: bytes,
    spec: GraphSpec,
    gpu: Gpu,
    cuda: Cuda,
    inputs: Mapping[str, NDArray[Any]],
    batch: int,
    opened: ExitStack,
    *,
    graphs: bool,
) -> Measure:
    """ONNX Runtime's CUDA provider with IO binding, images copied out; TF32 off, NHWC preferred."""
    onnxruntime: Any = import_onnxruntime()
    onnxruntime.preload_dlls()
    buffers = Buffers(cuda, spec, inputs, batch, opened)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    provider = {
        "device_id": str(gpu.index),
        "user_compute_stream": str(buffers.stream),
        "enable_cuda_graph": "1" if graphs else "0",
        "use_tf32": "0",
        "prefer_nhwc": "1",
        "cudnn_conv_algo_search": "EXHAUSTIVE",
    }
    session = onnxruntime.InferenceSession(data, options, providers=[(CUDA, provider)])
    if session.get_providers()[0] != CUDA:
        raise EngineError(f"onnxruntime fell back to {session.get_providers()}")
    binding = session.io_binding()
    for tensors, bind in (
        (spec.inputs, binding.bind_input),
        (spec.outputs, binding.bind_output),
    ):
        for tensor in tensors:
            shape, address = (batch, *tensor.shape), buffers.device[tensor.name]
            bind(tensor.name, "cuda", gpu.index, np.dtype(tensor.dtype), shape, address)
    run_options = onnxruntime.RunOptions()
    run_options.add_run_config_entry("disable_synchronize_execution_providers", "1")

    # Both let go of the stream before that is destroyed, whoever still holds the loop.
    held: list[Any] = [session, binding]
    opened.callback(held.clear)
    del session, binding

    def run() -> None:
        buffers.copy_in()
        held[0].run_with_iobinding(held[1], run_options)
        buffers.copy_out()

    for _ in range(3):  # a graph is recorded in the second run
        run()
        buffers.wait()
    return looped(run, buffers.wait, batch)


def tensorrt_loops(
    plan: Plan,
    spec: GraphSpec,
    cuda: Cuda,
    inputs: Mapping[str, NDArray[Any]],
    batch: int,
    opened: ExitStack,
) -> tuple[Measure, Measure]:
    """A plan recorded as a CUDA graph: the engine alone, and with latents in and images out."""
    library = import_tensorrt(plan.key.flavor)
    log, said = logger_of(plan.key.flavor)
    loader = library.Runtime(log)
    engine = loader.deserialize_cuda_engine(plan.data)
    if engine is None:
        raise EngineError(f"{plan.key.file} cannot be loaded: {'; '.join(said)}")
    context = engine.create_execution_context(
        library.ExecutionContextAllocationStrategy.USER_MANAGED
    )
    if context is None:
        raise EngineError(f"{plan.key.file}: no execution context: {'; '.join(said)}")
    scratch = cuda.allocate(max(1, engine.device_memory_size_v2))
    opened.callback(cuda.free, scratch)
    context.set_device_memory(scratch, engine.device_memory_size_v2)
    buffers = Buffers(cuda, spec, inputs, batch, opened)
    for tensor in spec.inputs:
        context.set_input_shape(tensor.name, (batch, *tensor.at()))
    for name, address in buffers.device.items():
        context.set_tensor_address(name, address)

    def enqueue() -> None:
        if not context.execute_async_v3(buffers.stream):
            raise EngineError(f"{plan.key.file}: {'; '.join(said) or 'failed'}")

    def whole() -> None:
        buffers.copy_in()
        enqueue()
        buffers.copy_out()

    whole()
    buffers.wait()
    # The graphs need all of these; the last one goes first.
    held: list[Any] = [context, engine, loader]
    opened.callback(held.clear)
    measures: list[Measure] = []
    for work in (enqueue, whole):
        graph = cuda.capture(buffers.stream, work)
        opened.callback(cuda.destroy_graph, graph)
        launch = partial(cuda.launch, graph, buffers.stream)
        measures.append(looped(launch, buffers.wait, batch))
    return measures[0], measures[1]


def copy_speeds(cuda: Cuda, rounds: int) -> tuple[float, float]:
    """Bytes a second from page-locked host memory to the device, and back."""
    with ExitStack() as opened:
        stream = cuda.create_stream()
        opened.callback(cuda.destroy_stream, stream)
        pointer, array = cuda.allocate(_COPIED), cuda.allocate_host(_COPIED)
        opened.callback(cuda.free, pointer)
        opened.callback(cuda.free_host, array)
        copies = (
            partial(cuda.copy_in, pointer, array, stream),
            partial(cuda.copy_out, array, pointer, stream),
        )
        speeds: list[list[float]] = [[], []]
        for number in range(rounds + 1):
            for copy, found in zip(copies, speeds, strict=True):
                began = time.perf_counter()
                for _ in range(_COPIES):
                    copy()
                cuda.synchronize(stream)
                if number:  # the first touches the memory
                    found.append(_COPIES * _COPIED / (time.perf_counter() - began))
    return median(speeds[0]), median(speeds[1])
