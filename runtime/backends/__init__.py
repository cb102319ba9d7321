"""The seam between batching and an engine library: a backend runs one graph on one batch."""

from collections.abc import Mapping
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from runtime.artifact import Artifact
from runtime.errors import InputError
from runtime.manifest import GraphName, Manifest, Precision

Tensors = Mapping[str, NDArray[Any]]
"""Named arrays, each with a leading batch axis."""

Device = Literal["auto", "cpu", "cuda"]
BACKENDS = ("auto", "onnxruntime")


class Backend(Protocol):
    """A loaded artifact on one engine. `run` is called from several threads at once."""

    @property
    def description(self) -> str:
        """One line for the log: library, version, device, precision, threads."""
        ...

    def run(self, graph: GraphName, inputs: Tensors) -> Tensors:
        """Run one graph on one batch. Raises EngineError; outputs have the inputs' batch size."""
        ...

    def close(self) -> None:
        """Release the engine's memory; no run may follow."""
        ...


def choose_precision(artifact: Artifact, precision: Precision | Literal["auto"]) -> Precision:
    """The precision to run in: the one asked for, where the artifact has it; `auto` is fp32."""
    available = tuple(spec.precision for spec in artifact.manifest.decode)
    if precision == "auto":
        return "fp32"
    if precision not in available:
        raise InputError("precision", f"one of {('auto', *available)}", repr(precision))
    return precision


def open_backend(
    artifact: Artifact,
    backend: str,
    *,
    precision: Precision | Literal["auto"],
    device: Device,
    threads: int,
) -> Backend:
    """Load a verified artifact into the engine asked for (`auto`: ONNX Runtime)."""
    if backend not in BACKENDS:
        raise InputError("backend", f"one of {BACKENDS}", repr(backend))
    from runtime.backends.onnxruntime import OnnxRuntimeBackend

    return OnnxRuntimeBackend(
        artifact, precision=choose_precision(artifact, precision), device=device, threads=threads
    )


def zero_inputs(manifest: Manifest, graph: GraphName, batch: int) -> dict[str, NDArray[Any]]:
    """Inputs of the right types and shapes, all zero: for warming up."""
    specs = manifest.decode if graph == "decode" else manifest.encode
    return {t.name: np.zeros((batch, *t.shape), t.dtype) for t in specs[0].inputs}
