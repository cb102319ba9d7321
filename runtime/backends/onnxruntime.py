"""ONNX Runtime on CPU or CUDA: the reference backend."""

from importlib import metadata
from types import ModuleType
from typing import Any

from numpy.typing import NDArray

from runtime.artifact import Artifact
from runtime.backends import Device, Tensors, Variant, graph_bytes, graph_spec
from runtime.errors import EngineError
from runtime.manifest import GraphName

CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"


class OnnxRuntimeBackend:
    """One session a graph, each safe to run from several threads.

    `threads` is the number of cores one run uses; with one, runs in several threads share nothing
    and ONNX Runtime starts no (spinning) worker threads of its own.
    """

    def __init__(
        self, artifact: Artifact, variant: Variant, *, device: Device, threads: int
    ) -> None:
        onnxruntime = _import_onnxruntime()
        provider = _choose_provider(onnxruntime, device)
        self._sessions: dict[str, Any] = {}
        graphs: tuple[GraphName, ...] = ("decode", "encode")
        for graph in graphs:
            spec = graph_spec(artifact.manifest, graph, variant.precision)
            if spec is not None:
                data = graph_bytes(artifact, spec, variant)
                self._sessions[graph] = _session(onnxruntime, data, spec.file, provider, threads)
        self._output_names = {
            graph: [output.name for output in session.get_outputs()]
            for graph, session in self._sessions.items()
        }
        self._description = (
            f"onnxruntime {onnxruntime.__version__} on {'cuda' if provider == CUDA else 'cpu'}, "
            f"{variant.precision}, {variant.form} graph, "
            f"{threads} thread{'s' if threads > 1 else ''} a run"
        )

    @property
    def description(self) -> str:
        return self._description

    def run(self, graph: GraphName, inputs: Tensors) -> dict[str, NDArray[Any]]:
        names = self._output_names[graph]
        try:
            outputs = self._sessions[graph].run(names, dict(inputs))
        except MemoryError:
            raise
        except Exception as error:  # the library raises its own kinds, and RuntimeError
            raise EngineError(f"onnxruntime failed while running {graph}: {error}") from error
        return dict(zip(names, outputs, strict=True))

    def close(self) -> None:
        self._sessions.clear()


def _import_onnxruntime() -> ModuleType:
    installed = [name for name in ("onnxruntime", "onnxruntime-gpu") if _is_installed(name)]
    if len(installed) > 1:
        raise EngineError(
            "both onnxruntime and onnxruntime-gpu are installed and overwrite each other: run "
            "`pip uninstall onnxruntime onnxruntime-gpu`, then install one of the extras "
            "latentserve[onnx] (CPU) or latentserve[onnx-gpu]"
        )
    try:
        import onnxruntime  # pyright: ignore[reportMissingTypeStubs]
    except ImportError as error:
        raise EngineError(
            f"onnxruntime cannot be imported ({error}): install latentserve[onnx] (CPU) or "
            "latentserve[onnx-gpu], one of the two"
        ) from error
    return onnxruntime


def _is_installed(distribution: str) -> bool:
    try:
        metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return False
    return True


def uses_cuda(device: Device) -> bool:
    """Whether `device` means a GPU on this machine; EngineError where one is asked for in vain."""
    if device == "cpu" or (device == "auto" and not _cuda_device_present()):
        return False
    return _choose_provider(_import_onnxruntime(), device) == CUDA


def _choose_provider(onnxruntime: Any, device: Device) -> str:
    has_cuda = CUDA in onnxruntime.get_available_providers()
    if device == "cpu" or (device == "auto" and not (has_cuda and _cuda_device_present())):
        return CPU
    if not has_cuda:
        raise EngineError(
            "device 'cuda' was asked for, but this onnxruntime has no CUDA provider: install "
            "latentserve[onnx-gpu] instead of latentserve[onnx]"
        )
    onnxruntime.preload_dlls()
    return CUDA


def _cuda_device_present() -> bool:
    import ctypes

    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    count = ctypes.c_int(0)
    return (
        driver.cuInit(0) == 0
        and driver.cuDeviceGetCount(ctypes.byref(count)) == 0
        and (count.value > 0)
    )


def _session(onnxruntime: Any, data: bytes, file: str, provider: str, threads: int) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Worker threads that spin between runs take a core from every other engine in the process.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    if provider == CUDA:
        # Without this, nodes (or the whole graph) move to the CPU silently.
        options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    try:
        session = onnxruntime.InferenceSession(data, options, providers=[provider])
    except Exception as error:  # the library raises its own kinds, and RuntimeError
        raise EngineError(f"onnxruntime cannot load {file} on {provider}: {error}") from error
    if session.get_providers()[0] != provider:
        raise EngineError(
            f"onnxruntime was asked for {provider} and fell back to {session.get_providers()}: "
            "check the CUDA and cuDNN libraries (latentserve[onnx-gpu] installs them)"
        )
    return session
