"""The seam between batching and an engine library: a backend runs one graph on one batch."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol, get_args

import numpy as np
from numpy.typing import NDArray

from runtime.artifact.graphs import GraphSpec, Precision
from runtime.artifact.manifest import Manifest
from runtime.artifact.reading import Artifact
from runtime.engines.rewrites import Form
from runtime.sampling.streams import Draws

Tensors = Mapping[str, NDArray[Any]]
"""Named arrays, each with a leading batch axis."""

Inputs = Mapping[str, NDArray[Any] | Draws]
"""What a graph is given: arrays, or latents that are still to be drawn."""

Device = Literal["auto", "cpu", "cuda"]
Engine = Literal["onnxruntime", "openvino", "tensorrt", "tensorrt-rtx"]
ENGINES: tuple[Engine, ...] = get_args(Engine)


@dataclass(frozen=True)
class Variant:
    """One way to run an artifact: the engine library, its arithmetic, and the graphs' form."""

    engine: Engine
    precision: Precision
    form: Form
    device: Literal["cpu", "cuda"] = "cpu"

    def __str__(self) -> str:
        on = " on cuda" if self.device == "cuda" else ""
        return f"{self.engine} {self.precision} {self.form}{on}"


REFERENCE = Variant("onnxruntime", "fp32", "plain", "cpu")
"""What all other variants are compared with."""


@dataclass(frozen=True)
class Setting:
    """How a model will be run: runs at once, cores a run, images a run."""

    runners: int
    threads: int
    batch: int


class Backend(Protocol):
    """A loaded artifact on one engine. `run` is called from several threads at once."""

    @property
    def description(self) -> str:
        """One line for the log: library, version, device, precision, form, threads."""
        ...

    @property
    def draws(self) -> bool:
        """Whether it takes `Draws` for latents, and draws them itself."""
        ...

    @property
    def max_batch(self) -> int | None:
        """The largest batch that is run at once; None: any."""
        ...

    def run(self, graph: str, inputs: Inputs, out: Tensors | None = None) -> Tensors:
        """Run one graph on one batch. Raises EngineError; outputs have the inputs' batch size, and
        are the caller's.

        With `out`, arrays of the right shapes, they are written there, and `out`'s are returned.
        """
        ...

    def close(self) -> None:
        """Release the engine's memory; no run may follow."""
        ...


def arrays(inputs: Inputs) -> dict[str, NDArray[Any]]:
    """`inputs` with everything drawn."""
    return {name: np.asarray(values) for name, values in inputs.items()}


def into(out: Tensors | None, outputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """`outputs` where the caller wants them."""
    if out is None:
        return dict(outputs)
    for name, array in outputs.items():
        out[name][...] = array
    return dict(out)


def graph_specs(manifest: Manifest, precision: Precision) -> dict[str, GraphSpec]:
    """The file of every graph in a precision; fp32 where a graph has no such file."""
    return {name: graph.spec(precision) for name, graph in manifest.graphs.items()}


def graph_bytes(artifact: Artifact, spec: GraphSpec, variant: Variant) -> bytes:
    """A verified graph in the variant's form, as an ONNX file in memory."""
    data = artifact.files[spec.file]
    if variant.form == "plain":
        return data
    import onnx

    from runtime.engines.rewrites import rewrite

    return rewrite(onnx.load_model_from_string(data), variant.form).SerializeToString()


def zero_inputs(manifest: Manifest, graph: str, batch: int) -> dict[str, NDArray[Any]]:
    """Inputs of the right types and shapes, all zero: for warming up."""
    size = manifest.default_size
    inputs = manifest.graphs[graph].inputs
    return {t.name: np.zeros((batch, *t.at(size)), t.dtype) for t in inputs}
