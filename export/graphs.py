"""What every ONNX graph of an artifact passes before it is written, whatever made it."""

from collections.abc import Mapping, Sequence

import onnx
from onnx import ModelProto, NodeProto, TensorProto, helper

from runtime.artifact.graph import check_graph
from runtime.artifact.manifest import Axis
from runtime.artifact.tensors import GraphSpec
from runtime.errors import ArtifactError, ExportError

_HINTS = {
    "DFT": "a Fourier transform is a product with the matrix of its cosines and sines",
    "NonZero": "instead of x[mask] = value write torch.where(mask, value, x); what has as many "
    "values as a mask has ones cannot be served",
}
"""What to do about operators that artifacts do not have."""


def finished(model: ModelProto, spec: GraphSpec, axes: Mapping[str, Axis], maker: str) -> bytes:
    """The bytes of the graph, stripped of notes. ExportError where it holds what no artifact may
    (`runtime.artifact.graph`); `maker` is what gave it, for the error."""
    _strip(model)
    data = model.SerializeToString(deterministic=True)
    sizes = [tuple((n, getattr(a, which)) for n, a in axes.items()) for which in ("default", "min")]
    try:
        check_graph(data, spec, sizes)
    except ArtifactError as error:
        raise ExportError(
            f"{spec.file}: {maker} gives a graph that is refused: {error.reason}{_hint(error)}"
        ) from error
    return data


def replace_nodes(
    model: ModelProto, nodes: Sequence[NodeProto], constants: Sequence[TensorProto]
) -> None:
    """Replace the nodes, and keep those of the constants that they use."""
    graph = model.graph
    used = {name for node in nodes for name in node.input}
    kept = [tensor for tensor in constants if tensor.name in used]
    # Through another graph: these may be parts of the one that is emptied.
    other = helper.make_graph(nodes, graph.name, [], [], kept)
    del graph.node[:], graph.initializer[:], graph.value_info[:]
    graph.node.extend(other.node)
    graph.initializer.extend(other.initializer)


def needed_nodes(model: ModelProto) -> list[NodeProto]:
    """The nodes that the graph's outputs depend on, in their order."""
    needed = {value.name for value in model.graph.output}
    kept: list[onnx.NodeProto] = []
    for node in reversed(model.graph.node):
        if needed.intersection(node.output):
            kept.append(node)
            needed.update(node.input)
    return kept[::-1]


def _strip(model: ModelProto) -> None:
    # Exporters note stack traces, with paths of their machine, on everything.
    graph = model.graph
    for part in (
        model,
        graph,
        *graph.node,
        *graph.initializer,
        *graph.value_info,
        *graph.input,
        *graph.output,
    ):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")


def _hint(error: ArtifactError) -> str:
    for operator, hint in _HINTS.items():
        if f"operator {operator} " in error.reason:
            return f": {hint}"
    if "Random" in error.reason or "Bernoulli" in error.reason:
        return (
            "; a graph holds no random numbers: take noise out of forward, or make it an input "
            "(ExportOptions.noise, --noise SHAPE); what a StyleGAN draws becomes one where its "
            "shape is made of x.shape[0], not len(x)"
        )
    return ""
