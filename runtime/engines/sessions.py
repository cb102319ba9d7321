"""ONNX Runtime's sessions, on the CPU or on a GPU."""

from types import ModuleType
from typing import Any

from runtime.errors import EngineError
from runtime.machine import installed_version, to_install

CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"


def import_onnxruntime() -> ModuleType:
    installed = [name for name in ("onnxruntime", "onnxruntime-gpu") if installed_version(name)]
    if len(installed) > 1:
        raise EngineError(
            "both onnxruntime and onnxruntime-gpu are installed and overwrite each other: run "
            f"`pip uninstall onnxruntime onnxruntime-gpu`, then {to_install('onnx', 'onnx-gpu')}"
        )
    try:
        import onnxruntime  # pyright: ignore[reportMissingTypeStubs]
    except ImportError as error:
        raise EngineError(
            f"onnxruntime cannot be imported ({error}): {to_install('onnx', 'onnx-gpu')}"
        ) from error
    return onnxruntime


def has_cuda() -> bool:
    """Whether the installed ONNX Runtime has the CUDA provider."""
    return CUDA in import_onnxruntime().get_available_providers()


def returning_memory(onnxruntime: Any) -> Any:
    """Options of a run that gives its memory back at its end, all but the regions in which its
    outputs lie. Within the run memory is reused: without an arena, each operator would allocate its
    own from the system, which takes as long as the operators of a large image do."""
    options = onnxruntime.RunOptions()
    options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
    return options


def open_session(
    onnxruntime: Any,
    data: bytes | str,
    file: str,
    provider: tuple[str, dict[str, str]],
    *,
    threads: int,
    plans_memory: bool = True,
) -> Any:
    """A session of a graph, or of the file of that name, on one provider (name, options) and no
    other; EngineError where there is none.

    It keeps the memory that a run took for the next one, unless a run is told otherwise
    (`returning_memory`). With `plans_memory` a size that was run before gets one block for all that
    it needs, beside what is held already: faster for small images, twice the memory for large
    ones."""
    name = provider[0]
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Worker threads that spin between runs take a core from every other engine in the process.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.enable_mem_pattern = plans_memory
    options.log_severity_level = 3
    if name == CUDA:
        # Without this, nodes (or the whole graph) move to the CPU silently.
        options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    try:
        session = onnxruntime.InferenceSession(data, options, providers=[provider])
    except Exception as error:  # the library raises its own kinds, and RuntimeError
        raise EngineError(f"onnxruntime cannot load {file} on {name}: {error}") from error
    if session.get_providers()[0] != name:
        raise EngineError(
            f"expected onnxruntime to run on {name}, found it on {session.get_providers()}: "
            "check the CUDA and cuDNN libraries (the extra onnx-gpu brings them)"
        )
    return session
