"""A decoder's graph in reduced precision: what engines of strong types (TensorRT 11) run as fp16 or
bf16.

Inputs and outputs stay the same: latents float32 in, grey levels computed in float32 and given as
uint8. Between the two every float32 tensor becomes float16 or bfloat16. The graphs have passed
`check_graph`, so there are no subgraphs and no operators but the allowed ones.
"""

from collections.abc import Iterator

import numpy as np
import onnx
from onnx import AttributeProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

from export.graphs import replace_nodes
from runtime.artifact.manifest import Reduced
from runtime.engines.rewrites import rewrite
from runtime.errors import ExportError

LEVELS = "latentserve.levels"
"""The second output that `with_levels` adds."""

_TYPES: dict[Reduced, int] = {"fp16": TensorProto.FLOAT16, "bf16": TensorProto.BFLOAT16}
_FLOAT = TensorProto.FLOAT
# Operators learned bfloat16 until this version, without changing on other types.
_BF16_OPSET = 22

# From floats to bytes there is nothing but these, each with one input that is not a constant.
_IMAGE_OPS = "Add Cast Clip Div Identity Mul Reshape Round Sub Transpose"
# Inputs that are float32 whatever the others are: `roi` and `scales`.
_ALWAYS_FLOAT32 = {"Resize": (1, 2)}


def reduce_precision(data: bytes, precision: Reduced) -> bytes:
    """The ONNX file `data` of a decoder, computing in `precision` from its inputs to the nodes that
    convert its result to images.

    bf16 graphs hold transposed convolutions as plain ones: TensorRT builds no others in bf16.
    Raises ExportError for a graph of which nothing would be reduced.
    """
    model = onnx.load_model_from_string(data)
    if precision == "bf16":
        model = rewrite(model, "subpixel")
        for opset in model.opset_import:
            opset.version = max(opset.version, _BF16_OPSET)
    _constants_to_initializers(model)
    kept = {node.output[0] for node in _image_nodes(model)}
    if len(kept) == len(model.graph.node):
        raise ExportError("there is no arithmetic between latents and images to reduce")
    _Reduction(model, _TYPES[precision], kept).apply()
    return model.SerializeToString(deterministic=True)


def emulate(data: bytes, precision: Reduced) -> bytes:
    """What `reduce_precision` gave, for engines without such arithmetic: every tensor is float32,
    rounded to `precision` where it is made, as on hardware that multiplies in `precision` and adds
    in float32."""
    model = onnx.load_model_from_string(data)
    reduced = _TYPES[precision]
    rounded = {name for name, kind in _types(model).items() if kind == reduced}
    nodes: list[NodeProto] = []
    for node in model.graph.node:
        nodes.append(node)
        for attribute in node.attribute:
            if attribute.type == AttributeProto.TENSOR and attribute.t.data_type == reduced:
                attribute.t.CopyFrom(_as_float(attribute.t))
            if node.op_type == "Cast" and attribute.i == reduced:
                attribute.i = _FLOAT
        for position, name in enumerate(node.output):
            if name in rounded:
                exact, short = f"{name}.exact", f"{name}.short"
                node.output[position] = exact
                nodes.append(helper.make_node("Cast", [exact], [short], to=reduced))
                nodes.append(helper.make_node("Cast", [short], [name], to=_FLOAT))
    constants = [_as_float(t) if t.data_type == reduced else t for t in model.graph.initializer]
    replace_nodes(model, nodes, constants)
    return model.SerializeToString()


def with_levels(data: bytes) -> bytes:
    """The same decoder with a second output, `LEVELS`: its grey levels before they are rounded.
    Bytes hide what is not finite."""
    model = onnx.load_model_from_string(data)
    source = next((node.input[0] for node in _image_nodes(model) if node.op_type == "Round"), None)
    if source is None:
        raise ExportError("expected a Round before the images become bytes, found none")
    model.graph.node.append(helper.make_node("Identity", [source], [LEVELS]))
    model.graph.output.append(helper.make_tensor_value_info(LEVELS, _FLOAT, None))
    return model.SerializeToString()


def _image_nodes(model: ModelProto) -> Iterator[NodeProto]:
    """The nodes that turn the network's floats into images, the last first."""
    constants = {tensor.name for tensor in model.graph.initializer}
    producers = {output: node for node in model.graph.node for output in node.output}
    name = model.graph.output[0].name
    while name in producers and producers[name].op_type in _IMAGE_OPS.split():
        node = producers[name]
        varying = [source for source in node.input if source and source not in constants]
        if len(varying) != 1:
            return
        yield node
        (name,) = varying


def _constants_to_initializers(model: ModelProto) -> None:
    """Turn Constant nodes into initializers."""
    nodes: list[NodeProto] = []
    constants = list(model.graph.initializer)
    for node in model.graph.node:
        if node.op_type != "Constant":
            nodes.append(node)
            continue
        (attribute,) = node.attribute
        value = helper.get_attribute_value(attribute)
        if not isinstance(value, TensorProto):
            floats = attribute.type in (AttributeProto.FLOAT, AttributeProto.FLOATS)
            value = numpy_helper.from_array(np.array(value, np.float32 if floats else np.int64))
        constants.append(value)
        constants[-1].name = node.output[0]
    replace_nodes(model, nodes, constants)


class _Reduction:
    """One graph, tensor by tensor."""

    def __init__(self, model: ModelProto, reduced: int, kept: set[str]) -> None:
        self._model = model
        self._dtype = helper.tensor_dtype_to_np_dtype(reduced)
        self._reduced = reduced
        self._kept = kept
        self._types = _types(model)
        self._constants = {tensor.name: tensor for tensor in model.graph.initializer}
        self._lowered: dict[str, TensorProto] = {}
        self._inputs = [i.name for i in model.graph.input if self._types[i.name] == _FLOAT]

    def apply(self) -> None:
        nodes = [
            helper.make_node("Cast", [name], [_lower(name)], to=self._reduced)
            for name in self._inputs
        ]
        for node in self._model.graph.node:
            if node.output[0] in self._kept:
                nodes += self._float32_node(node)
            else:
                nodes.append(self._inner_node(node))
        replace_nodes(self._model, nodes, [*self._constants.values(), *self._lowered.values()])

    def _inner_node(self, node: NodeProto) -> NodeProto:
        exact = _ALWAYS_FLOAT32.get(node.op_type, ())
        for position, name in enumerate(node.input):
            if self._types.get(name) != _FLOAT or position in exact:
                continue
            if name in self._inputs:
                node.input[position] = _lower(name)
            elif name in self._constants:
                node.input[position] = _lower(name)
                self._lowered[name] = self._rounded(self._constants[name], _lower(name))
        for attribute in node.attribute:
            if attribute.type == AttributeProto.TENSOR and attribute.t.data_type == _FLOAT:
                attribute.t.CopyFrom(self._rounded(attribute.t, ""))
            if node.op_type == "Cast" and attribute.name == "to" and attribute.i == _FLOAT:
                attribute.i = self._reduced
        return node

    def _float32_node(self, node: NodeProto) -> list[NodeProto]:
        casts: list[NodeProto] = []
        for position, name in enumerate(node.input):
            inner = name not in self._kept and name not in self._constants
            if inner and self._types.get(name) == _FLOAT:
                node.input[position] = f"{name}.float32"
                casts.append(helper.make_node("Cast", [name], [node.input[position]], to=_FLOAT))
        return [*casts, node]

    def _rounded(self, tensor: TensorProto, name: str) -> TensorProto:
        with np.errstate(over="ignore"):  # what does not fit becomes infinite, and is found out
            return numpy_helper.from_array(numpy_helper.to_array(tensor).astype(self._dtype), name)


def _lower(name: str) -> str:
    return f"{name}.reduced"


def _as_float(tensor: TensorProto) -> TensorProto:
    return numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float32), tensor.name)


def _types(model: ModelProto) -> dict[str, int]:
    """The element type of every tensor."""
    graph = onnx.shape_inference.infer_shapes(model).graph
    values = (*graph.input, *graph.value_info, *graph.output)
    types = {value.name: value.type.tensor_type.elem_type for value in values}
    return types | {tensor.name: tensor.data_type for tensor in graph.initializer}
