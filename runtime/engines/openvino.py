"""OpenVINO on the CPU: often the faster engine, and the one with bf16 arithmetic."""

import os
import threading
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from functools import cache as cached
from importlib.util import find_spec
from pathlib import Path
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from runtime.artifact.reading import Artifact
from runtime.artifact.tensors import Precision
from runtime.engines.backend import (
    Backend,
    Inputs,
    Place,
    Setting,
    Tensors,
    Variant,
    arrays,
    graph_bytes,
    graph_specs,
    into,
    main_forms,
)
from runtime.engines.library import EngineLibrary, EngineRequest
from runtime.engines.rewrites import Form
from runtime.errors import EngineError
from runtime.machine import installed_version, to_install

_FIRST_ARRAY, _FIRST_CORE = threading.Lock(), threading.Lock()
_HINTS = {"fp32": "f32", "bf16": "bf16"}


class OpenVinoBackend:
    """One compiled model a graph; `runners` runs at once, each on `threads` cores.

    Batches may have any size: OpenVINO keeps what it prepared for the sizes it has met.
    """

    draws = False
    max_batch = None

    def __init__(self, artifact: Artifact, variant: Variant, setting: Setting) -> None:
        runners, threads = setting.runners, setting.threads
        openvino = _import_openvino()
        core = _core()
        if variant.precision not in precisions():
            raise EngineError(
                f"precision: expected {' or '.join(precisions())} (openvino on this CPU), found "
                f"{variant.precision}: precision='auto' takes what there is"
            )
        self._models: dict[str, Any] = {}
        self._idle: dict[str, deque[Any]] = {}
        # A port that OpenVINO has merged with others has several names.
        self._outputs: dict[str, list[str]] = {}
        for graph, spec in graph_specs(artifact.manifest, "fp32").items():
            precision = variant.precision if spec.gives_pixels else "fp32"
            settings = {
                "NUM_STREAMS": runners,
                "INFERENCE_NUM_THREADS": runners * threads,
                "INFERENCE_PRECISION_HINT": _HINTS[precision],
                # Two processes, or two models, would be pinned to the same cores.
                "ENABLE_CPU_PINNING": False,
            }
            data = graph_bytes(artifact, spec, variant)
            try:
                self._models[graph] = core.compile_model(core.read_model(data), "CPU", settings)
            except Exception as error:  # the library raises RuntimeError and its own kinds
                raise EngineError(f"openvino cannot load {spec.file}: {error}") from error
            self._idle[graph] = deque()
            self._outputs[graph] = [tensor.name for tensor in spec.outputs]
        self._description = (
            f"openvino {openvino.__version__.partition('-')[0]} on cpu, {variant.precision}, "
            f"{variant.form} graph, {threads} thread{'s' if threads > 1 else ''} a run"
        )

    @property
    def description(self) -> str:
        return self._description

    def run(
        self, graph: str, inputs: Inputs, out: Tensors | None = None
    ) -> dict[str, NDArray[Any]]:
        model, idle = self._models[graph], self._idle[graph]
        try:
            request = idle.pop() if idle else model.create_infer_request()
        except IndexError:  # another thread was faster
            request = model.create_infer_request()
        try:
            request.infer(
                {k: np.ascontiguousarray(v) for k, v in arrays(inputs).items()}, share_inputs=True
            )
            # Copied: the request's own memory is written again by its next run.
            found = {name: request.get_tensor(name).data for name in self._outputs[graph]}
            outputs = (
                {name: np.array(array) for name, array in found.items()}
                if out is None
                else into(out, found)
            )
        except MemoryError:
            raise
        except Exception as error:
            raise EngineError(f"openvino failed while running {graph}: {error}") from error
        idle.append(request)
        return outputs

    def close(self) -> None:
        self._idle.clear()
        self._models.clear()


def is_installed() -> bool:
    """Whether the library is there, without importing it."""
    return find_spec("openvino") is not None


@cached
def precisions() -> tuple[str, ...]:
    """The precisions of this machine's CPU, as OpenVINO reports them: fp32, and perhaps bf16."""
    return ("fp32", "bf16") if "BF16" in _capabilities(_core()) else ("fp32",)


def _core() -> Any:
    """This process's way into the library, which it keeps until it ends."""
    with _FIRST_CORE:
        return _core_of(os.getpid())


@cached
def _core_of(process: int) -> Any:
    """The Core of a process; one that was forked makes its own, since threads are not forked.

    OpenVINO (2026.4) gives the first thread that uses the CPU a stack for signals, and frees it
    with the last network: the next signal in that thread, Ctrl-C for one, is then a segmentation
    fault. So the first use is in a thread that ends at once, and the Core is kept.
    """
    with ThreadPoolExecutor(1) as thread:
        core = thread.submit(_import_openvino().Core).result()
        thread.submit(_capabilities, core).result()
    return core


def _capabilities(core: Any) -> list[str]:
    return core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def _import_openvino() -> Any:
    try:
        import openvino  # pyright: ignore[reportMissingTypeStubs]
    except ImportError as error:
        raise EngineError(
            f"openvino cannot be imported ({error}): {to_install('openvino')}"
        ) from error
    # Two threads that hand it their first array at the same moment lock each other out for good:
    # one holds a guard of C++ and waits for Python's lock, the other the reverse (2026.4).
    with _FIRST_ARRAY:
        openvino.Type.f32.to_dtype()
    return openvino


class OpenVino:
    """OpenVINO, on the CPU."""

    name = "openvino"
    places: tuple[Place, ...] = ("cpu",)

    def version(self, artifact: Artifact, cache: Path) -> str | None:
        return installed_version("openvino")

    def has_gpu(self) -> bool:
        return False

    def require_gpu(self) -> None:
        raise EngineError("openvino runs on CPUs here: use backend 'auto' for a GPU")

    def candidates(
        self, artifact: Artifact, request: EngineRequest, place: Place, cache: Path
    ) -> list[Variant]:
        if request.backend != self.name and not is_installed():
            return []
        fitting: list[Precision] = [
            p for p in get_args(Precision) if p in precisions() and request.precision in ("auto", p)
        ]
        # Winograd's products are slower here than its own convolutions.
        made: list[Form] = [form for form in main_forms(artifact) if form != "winograd"]
        # What folding makes of a graph is never slower here than the graph as it was.
        tried = made[1:] if "folded" in made else made
        found = [Variant(self.name, "fp32", form) for form in tried if "fp32" in fitting]
        # bf16 gains nothing from transposed convolutions as they are.
        return found + [Variant(self.name, p, made[-1]) for p in fitting if p != "fp32"]

    def open(self, artifact: Artifact, variant: Variant, setting: Setting, cache: Path) -> Backend:
        return OpenVinoBackend(artifact, variant, setting)


ENGINES: tuple[EngineLibrary, ...] = (OpenVino(),)
