"""ONNX Runtime on the CPU: the reference backend."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtime.artifact.reading import Artifact
from runtime.artifact.tensors import GraphSpec, Precision
from runtime.engines.backend import (
    REFERENCE,
    Backend,
    Inputs,
    Place,
    Setting,
    Tensors,
    Variant,
    arrays,
    graph_and_known,
    graph_specs,
    into,
    main_forms,
    precisions,
)
from runtime.engines.editing import Known
from runtime.engines.library import EngineLibrary, EngineRequest
from runtime.engines.sessions import (
    CPU,
    has_cuda,
    import_onnxruntime,
    open_session,
    returning_memory,
)
from runtime.errors import EngineError
from runtime.machine import installed_version, to_install

_LARGE_BYTES = 64 << 20
"""If a run of one image needs more, its memory is given back afterwards: else the largest run that
ever was would keep it."""


class OnnxRuntimeBackend:
    """One session a graph, each safe to run from several threads.

    `setting.threads` is the number of cores one run uses; with one, runs in several threads share
    nothing and ONNX Runtime starts no (spinning) worker threads of its own.
    """

    draws = False
    max_batch = None

    def __init__(self, artifact: Artifact, variant: Variant, setting: Setting) -> None:
        self._artifact, self._threads = artifact, setting.threads
        self._onnxruntime = import_onnxruntime()
        self._graphs = {
            graph: self._opened(graph, spec, variant)
            for graph, spec in graph_specs(artifact.manifest, variant.precision).items()
        }
        self._description = (
            f"onnxruntime {self._onnxruntime.__version__} on cpu, "
            f"{variant.precision}, {variant.form} graph, "
            f"{self._threads} thread{'s' if self._threads > 1 else ''} a run"
        )

    def _opened(self, graph: str, spec: GraphSpec, variant: Variant) -> "_Graph":
        data, known = graph_and_known(self._artifact, spec, variant)
        bounds = self._artifact.bounds.get(graph)
        size = self._artifact.manifest.default_size
        large = bounds is not None and bounds.cost(1, size).bytes > _LARGE_BYTES
        session = open_session(
            self._onnxruntime,
            data,
            spec.file,
            (CPU, {}),
            threads=self._threads,
            plans_memory=not large,
        )
        options = returning_memory(self._onnxruntime) if large else None
        names = [output.name for output in session.get_outputs()]
        if known is None or known.fewest == 1:
            return _Graph(session, options, names, known)
        few = self._opened(graph, spec, replace(variant, form="folded"))
        return _Graph(session, options, names, known, few)

    @property
    def description(self) -> str:
        return self._description

    def run(
        self, graph: str, inputs: Inputs, out: Tensors | None = None
    ) -> dict[str, NDArray[Any]]:
        try:
            return into(out, self._graphs[graph].run(arrays(inputs)))
        except MemoryError:
            raise
        except Exception as error:  # the library raises its own kinds, and RuntimeError
            raise EngineError(f"onnxruntime failed while running {graph}: {error}") from error

    def close(self) -> None:
        self._graphs.clear()


@dataclass(frozen=True)
class _Graph:
    """The session of one graph; where its form does not suit runs of few images, another one for
    those."""

    session: Any
    options: Any
    """Of each run; None for the usual ones."""
    names: list[str]
    known: Known | None
    few: "_Graph | None" = None

    def run(self, inputs: Tensors) -> dict[str, NDArray[Any]]:
        rows = len(next(iter(inputs.values())))
        most = rows if self.known is None else self.known.images
        if rows <= most:
            return self._part(inputs)
        parts = [
            self._part({name: array[at : at + most] for name, array in inputs.items()})
            for at in range(0, rows, most)
        ]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def _part(self, inputs: Tensors) -> dict[str, NDArray[Any]]:
        rows = len(next(iter(inputs.values())))
        if self.few is not None and self.known is not None and rows < self.known.fewest:
            return self.few.run(inputs)
        made = self.session.run(self.names, dict(inputs), self.options)
        return dict(zip(self.names, made, strict=True))


def open_reference(artifact: Artifact, *, threads: int = 1) -> OnnxRuntimeBackend:
    """The artifact on the engine that all others are compared with."""
    return OnnxRuntimeBackend(artifact, REFERENCE, Setting(1, threads, artifact.manifest.max_batch))


class OnnxRuntime:
    """ONNX Runtime, on the CPU and by its CUDA provider."""

    name = REFERENCE.engine
    places: tuple[Place, ...] = ("cpu", "cuda")

    def version(self, artifact: Artifact, cache: Path) -> str | None:
        return installed_version("onnxruntime", "onnxruntime-gpu")

    def has_gpu(self) -> bool:
        return has_cuda()

    def require_gpu(self) -> None:
        if not has_cuda():
            raise EngineError(
                "device: 'cuda': this onnxruntime has no CUDA provider: run `pip uninstall "
                f"onnxruntime`, then {to_install('onnx-gpu')}"
            )

    def candidates(
        self, artifact: Artifact, request: EngineRequest, place: Place, cache: Path
    ) -> list[Variant]:
        there = precisions(artifact.manifest)
        # It lacks bf16 on CPUs, and operators in bf16 on GPUs.
        fitting: list[Precision] = [
            p for p in there if p != "bf16" and request.precision in ("auto", p)
        ]
        if place == "cuda":
            if request.device == "cuda":
                self.require_gpu()
            return [Variant(self.name, p, "plain", place) for p in fitting if has_cuda()]
        if "fp32" not in fitting:
            return [Variant(self.name, p, "plain") for p in fitting]
        # In fp32, transposed convolutions are faster as they are than in sub-pixel form.
        return [Variant(self.name, "fp32", f) for f in main_forms(artifact) if f != "subpixel"]

    def open(self, artifact: Artifact, variant: Variant, setting: Setting, cache: Path) -> Backend:
        if variant.device == "cuda":
            from runtime.engines.onnxruntime_cuda import onnxruntime_cuda_backend

            return onnxruntime_cuda_backend(artifact, variant, setting)
        return OnnxRuntimeBackend(artifact, variant, setting)


ENGINES: tuple[EngineLibrary, ...] = (OnnxRuntime(),)
