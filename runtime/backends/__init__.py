"""The seam between batching and an engine library: a backend runs one graph on one batch."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from runtime.artifact import Artifact
from runtime.manifest import GraphName, GraphSpec, Manifest, Precision
from runtime.rewrites import Form

Tensors = Mapping[str, NDArray[Any]]
"""Named arrays, each with a leading batch axis."""

Device = Literal["auto", "cpu", "cuda"]
Engine = Literal["onnxruntime", "openvino"]
ENGINES: tuple[Engine, ...] = ("onnxruntime", "openvino")


@dataclass(frozen=True)
class Variant:
    """One way to run an artifact: the engine library, its arithmetic, and the graphs' form."""

    engine: Engine
    precision: Precision
    form: Form

    def __str__(self) -> str:
        return f"{self.engine} {self.precision} {self.form}"


REFERENCE = Variant("onnxruntime", "fp32", "plain")
"""What all other variants are compared with (on the CPU)."""


class Backend(Protocol):
    """A loaded artifact on one engine. `run` is called from several threads at once."""

    @property
    def description(self) -> str:
        """One line for the log: library, version, device, precision, form, threads."""
        ...

    def run(self, graph: GraphName, inputs: Tensors) -> Tensors:
        """Run one graph on one batch. Raises EngineError; outputs have the inputs' batch size."""
        ...

    def close(self) -> None:
        """Release the engine's memory; no run may follow."""
        ...


def open_backend(
    artifact: Artifact, variant: Variant, *, device: Device, runners: int, threads: int
) -> Backend:
    """Load a verified artifact into an engine, for `runners` runs at once of `threads` threads.

    Raises EngineError where the library is missing, or this machine cannot run the variant.
    """
    if variant.engine == "openvino":
        from runtime.backends.openvino import OpenVinoBackend

        return OpenVinoBackend(artifact, variant, runners=runners, threads=threads)
    from runtime.backends.onnxruntime import OnnxRuntimeBackend

    return OnnxRuntimeBackend(artifact, variant, device=device, threads=threads)


def graph_spec(manifest: Manifest, graph: GraphName, precision: Precision) -> GraphSpec | None:
    """The file of a graph in a precision; fp32 where only the other graph has that precision."""
    specs = manifest.decode if graph == "decode" else manifest.encode
    by_precision = {spec.precision: spec for spec in specs}
    return by_precision.get(precision) or by_precision.get("fp32")


def graph_bytes(artifact: Artifact, spec: GraphSpec, variant: Variant) -> bytes:
    """A verified graph in the variant's form, as an ONNX file in memory."""
    data = artifact.files[spec.file]
    if variant.form == "plain":
        return data
    import onnx

    from runtime.rewrites import rewrite

    return rewrite(onnx.load_model_from_string(data), variant.form).SerializeToString()


def zero_inputs(manifest: Manifest, graph: GraphName, batch: int) -> dict[str, NDArray[Any]]:
    """Inputs of the right types and shapes, all zero: for warming up."""
    specs = manifest.decode if graph == "decode" else manifest.encode
    return {t.name: np.zeros((batch, *t.shape), t.dtype) for t in specs[0].inputs}
