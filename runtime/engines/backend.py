"""The interface of engine libraries for batching: a backend runs one graph on one batch."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from runtime.artifact.manifest import Manifest
from runtime.artifact.reading import Artifact
from runtime.artifact.tensors import GraphSpec, Precision
from runtime.engines.editing import Known
from runtime.engines.rewrites import Form
from runtime.sampling.streams import Draws

if TYPE_CHECKING:
    import onnx

Tensors = Mapping[str, NDArray[Any]]
"""Named arrays, each with a leading batch axis."""

Inputs = Mapping[str, NDArray[Any] | Draws]
"""What a graph is given: arrays, or latents that are still to be drawn."""

Place = Literal["cpu", "cuda"]
"""A kind of device."""


@dataclass(frozen=True)
class Variant:
    """One way to run an artifact: the engine library, its arithmetic, and the graphs' form."""

    engine: str
    precision: Precision
    form: Form
    device: Place = "cpu"

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


WORTH_SHARING = 0.001
"""Seconds of one core. Work that takes less is not divided between cores: to synchronise them costs
more than it saves."""


class Backend(Protocol):
    """A loaded artifact on one engine. `run` is called from several threads at once."""

    @property
    def description(self) -> str:
        """One line for the log: library, version, device, precision, form, threads."""
        ...

    @property
    def draws(self) -> bool:
        """Whether it takes `Draws` of N(0, I) for latents, and draws them itself."""
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


def normals_left(inputs: Inputs) -> Inputs:
    """`inputs` with everything drawn but what is drawn from N(0, I)."""
    return {
        name: values if isinstance(values, Draws) and values.prior is None else np.asarray(values)
        for name, values in inputs.items()
    }


def into(out: Tensors | None, outputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """`outputs` where the caller wants them."""
    if out is None:
        return dict(outputs)
    for name, array in outputs.items():
        out[name][...] = array
    return dict(out)


def graph_specs(manifest: Manifest, precision: Precision) -> dict[str, GraphSpec]:
    """Every graph of the artifact: its file in a precision, or in fp32 where it has no other."""
    return {name: graph.spec(precision) for name, graph in manifest.graphs.items()}


def precisions(manifest: Manifest) -> list[Precision]:
    """The precisions that the main graph has files of, the usually fastest first."""
    order: tuple[Precision, ...] = ("fp16", "bf16", "fp32")
    main = manifest.main_graph
    return [p for p in order if graph_specs(manifest, p)[main].precision == p]


def graph_bytes(artifact: Artifact, spec: GraphSpec, variant: Variant) -> bytes:
    """A verified graph in the variant's form, as an ONNX file in memory."""
    return graph_and_known(artifact, spec, variant)[0]


def graph_and_known(
    artifact: Artifact, spec: GraphSpec, variant: Variant
) -> tuple[bytes, Known | None]:
    """The same, and what is known of its runs where that matters to the form."""
    if variant.form == "plain":
        return artifact.files[spec.file], None
    import onnx

    from runtime.engines.rewrites import rewrite

    model = onnx.load_model_from_string(artifact.files[spec.file])
    known = _known(artifact, spec, model) if variant.form == "winograd" else None
    return rewrite(model, variant.form, known).SerializeToString(), known


def main_forms(artifact: Artifact) -> tuple[Form, ...]:
    """The forms that the graph passes give the main graph."""
    import onnx

    from runtime.engines.rewrites import forms

    spec = graph_specs(artifact.manifest, "fp32")[artifact.manifest.main_graph]
    model = onnx.load_model_from_string(artifact.files[spec.file])
    return forms(model, _known(artifact, spec, model))


def _known(artifact: Artifact, spec: GraphSpec, model: "onnx.ModelProto") -> Known:
    from runtime.artifact.shapes import Structure
    from runtime.engines.winograd import known_of

    structure, manifest = Structure(model), artifact.manifest
    smallest, usual = (
        {name: tensor.shape for name, tensor in structure.tensors(spec, 1, size).items()}
        for size in (manifest.smallest_size, manifest.default_size)
    )
    return known_of(model, smallest, usual)


def zero_inputs(manifest: Manifest, graph: str, batch: int) -> dict[str, NDArray[Any]]:
    """Inputs of the right types and shapes, all zero, at the default size: for warming up."""
    size, inputs = manifest.default_size, manifest.graphs[graph].inputs
    return {t.name: np.zeros((batch, *t.at(size)), t.dtype) for t in inputs}
