"""ONNX Runtime's CUDA provider, run in lanes: buffers that stay on the device, CUDA graphs.

Its CUDA graphs belong to the thread that recorded them: a session has a thread of its own.
"""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from runtime.artifact.reading import Artifact
from runtime.artifact.tensors import GraphSpec
from runtime.engines.backend import Setting, Variant, graph_bytes, graph_specs
from runtime.engines.gpu import Engines, GpuBackend
from runtime.engines.nvidia.cuda import as_memory_error
from runtime.engines.nvidia.devices import Gpu
from runtime.engines.nvidia.slots import Execution
from runtime.engines.sessions import CUDA, import_onnxruntime, open_session
from runtime.errors import EngineError

_BUCKETS = (1, 4, 16, 64, 256, 1024, 4096)
"""Batch sizes for which a CUDA graph is recorded, up to the largest batch in use."""


def onnxruntime_cuda_backend(artifact: Artifact, variant: Variant, setting: Setting) -> GpuBackend:
    """The artifact on every visible GPU; EngineError where the provider is missing or fails."""
    onnxruntime = import_onnxruntime()
    onnxruntime.preload_dlls()
    buckets = (*(b for b in _BUCKETS if b < setting.batch), setting.batch)

    def engines(gpu: Gpu) -> Engines:
        return {
            graph: OnnxRuntimeEngine(
                onnxruntime, graph_bytes(artifact, spec, variant), spec, gpu, buckets
            )
            for graph, spec in graph_specs(artifact.manifest, variant.precision).items()
        }

    return GpuBackend(
        engines,
        engine=f"onnxruntime {onnxruntime.__version__} cuda, {variant.precision}",
        setting=setting,
    )


def provider_options(gpu: Gpu, stream: int) -> dict[str, str]:
    """How the CUDA provider runs: on the lane's stream, recorded as a CUDA graph.

    TF32 is off: fp32 means fp32, and there is an fp16 variant for fewer bits. NHWC is preferred,
    the layout of tensor cores. The arena grows by what is allocated, not by doubling.
    """
    return {
        "device_id": str(gpu.index),
        "user_compute_stream": str(stream),
        "enable_cuda_graph": "1",
        "use_tf32": "0",
        "prefer_nhwc": "1",
        "cudnn_conv_algo_search": "EXHAUSTIVE",
        "arena_extend_strategy": "kSameAsRequested",
    }


class OnnxRuntimeEngine:
    """One graph on one device. A session runs on one stream, so every lane has its own."""

    def __init__(
        self, onnxruntime: Any, data: bytes, spec: GraphSpec, gpu: Gpu, buckets: tuple[int, ...]
    ) -> None:
        self.spec = spec
        self.buckets = buckets
        self._onnxruntime, self._data, self._gpu = onnxruntime, data, gpu
        self._sessions: dict[int, tuple[Any, ThreadPoolExecutor]] = {}

    def execution(self, bucket: int, stream: int) -> Execution:
        if stream not in self._sessions:
            thread = ThreadPoolExecutor(1, "latentserve-onnxruntime")
            provider = CUDA, provider_options(self._gpu, stream)
            opened = thread.submit(
                open_session, self._onnxruntime, self._data, self.spec.file, provider, threads=1
            )
            try:
                self._sessions[stream] = opened.result(), thread
            except EngineError as error:
                thread.shutdown()
                raise as_memory_error(error) from error
        session, thread = self._sessions[stream]
        return _Execution(self._onnxruntime, session, thread, self.spec, self._gpu, bucket)

    def close(self) -> None:
        for _, thread in self._sessions.values():
            thread.shutdown()
        self._sessions.clear()


class _Execution:
    """A binding of one session at one batch size."""

    scratch = 0
    """ONNX Runtime allocates its own, from its arena."""
    can_be_captured = False
    """It records its own graphs, one for each of these numbers."""

    def __init__(
        self,
        onnxruntime: Any,
        session: Any,
        thread: ThreadPoolExecutor,
        spec: GraphSpec,
        gpu: Gpu,
        bucket: int,
    ) -> None:
        self._thread = thread
        self._session, self._spec, self._gpu, self._bucket = session, spec, gpu, bucket
        self._binding = session.io_binding()
        self._options = onnxruntime.RunOptions()
        self._options.add_run_config_entry("gpu_graph_id", str(bucket))
        # The lane waits for its stream, once, after the copies out.
        self._options.add_run_config_entry("disable_synchronize_execution_providers", "1")

    def bind(self, addresses: Mapping[str, int], scratch: int) -> None:
        for tensors, bind in (
            (self._spec.inputs, self._binding.bind_input),
            (self._spec.outputs, self._binding.bind_output),
        ):
            for tensor in tensors:
                shape = (self._bucket, *tensor.at())
                dtype = np.dtype(tensor.dtype)
                bind(tensor.name, "cuda", self._gpu.index, dtype, shape, addresses[tensor.name])

    def enqueue(self, stream: int) -> None:
        try:
            run = self._session.run_with_iobinding
            self._thread.submit(run, self._binding, self._options).result()
        except Exception as error:  # the library raises its own kinds, and RuntimeError
            failed = EngineError(f"onnxruntime failed while running {self._spec.file}: {error}")
            raise as_memory_error(failed) from error
