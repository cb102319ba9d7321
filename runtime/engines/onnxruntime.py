"""ONNX Runtime on the CPU: the reference backend."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtime.artifact.reading import Artifact
from runtime.artifact.tensors import Precision
from runtime.engines.backend import (
    REFERENCE,
    Backend,
    Inputs,
    Place,
    Setting,
    Tensors,
    Variant,
    arrays,
    graph_and_images,
    graph_specs,
    into,
    main_forms,
    precisions,
)
from runtime.engines.library import EngineLibrary, EngineRequest
from runtime.engines.sessions import CPU, has_cuda, import_onnxruntime, open_session
from runtime.errors import EngineError
from runtime.machine import installed_version

_LARGE_BYTES = 64 << 20
"""If a run of one image needs more, its memory is freed afterwards: an arena would keep the largest
size that was ever allocated."""


class OnnxRuntimeBackend:
    """One session a graph, each safe to run from several threads.

    `setting.threads` is the number of cores one run uses; with one, runs in several threads share
    nothing and ONNX Runtime starts no (spinning) worker threads of its own.
    """

    draws = False
    max_batch = None

    def __init__(self, artifact: Artifact, variant: Variant, setting: Setting) -> None:
        threads = setting.threads
        onnxruntime = import_onnxruntime()
        self._sessions: dict[str, Any] = {}
        self._images: dict[str, int | None] = {}
        size = artifact.manifest.default_size
        for graph, spec in graph_specs(artifact.manifest, variant.precision).items():
            data, self._images[graph] = graph_and_images(artifact, spec, variant)
            bounds = artifact.bounds.get(graph)
            large = bounds is not None and bounds.cost(1, size).bytes > _LARGE_BYTES
            self._sessions[graph] = open_session(
                onnxruntime, data, spec.file, (CPU, {}), threads=threads, keeps_memory=not large
            )
        self._output_names = {
            graph: [output.name for output in session.get_outputs()]
            for graph, session in self._sessions.items()
        }
        self._description = (
            f"onnxruntime {onnxruntime.__version__} on cpu, "
            f"{variant.precision}, {variant.form} graph, "
            f"{threads} thread{'s' if threads > 1 else ''} a run"
        )

    @property
    def description(self) -> str:
        return self._description

    def run(
        self, graph: str, inputs: Inputs, out: Tensors | None = None
    ) -> dict[str, NDArray[Any]]:
        names, given, most = self._output_names[graph], arrays(inputs), self._images[graph]
        rows = len(next(iter(given.values())))
        most = most or rows
        try:
            parts = [
                self._sessions[graph].run(names, {n: a[at : at + most] for n, a in given.items()})
                for at in range(0, rows, most)
            ]
        except MemoryError:
            raise
        except Exception as error:  # the library raises its own kinds, and RuntimeError
            raise EngineError(f"onnxruntime failed while running {graph}: {error}") from error
        outputs = parts[0] if len(parts) == 1 else map(np.concatenate, zip(*parts, strict=True))
        return into(out, dict(zip(names, outputs, strict=True)))

    def close(self) -> None:
        self._sessions.clear()


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
                "device: 'cuda': this onnxruntime has no CUDA provider: install "
                "latentserve[onnx-gpu] instead of latentserve[onnx]"
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
