"""The element type and shape of every tensor of a graph, at a batch and a size, without running it.

Node by node: ONNX's own shape inference for one node, given the values of those small tensors that
are known (`runtime.artifact.values`). The time is linear in the nodes, whatever the graph.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from runtime.artifact.size import Size
from runtime.artifact.tensors import GraphSpec
from runtime.artifact.values import KINDS, MAX_KNOWN, evaluate

if TYPE_CHECKING:
    import onnx

ITEM_BYTES = {1: 4, 2: 1, 3: 1, 6: 4, 7: 8, 9: 1, 10: 2, 11: 8, 16: 2}
"""ONNX's numbers of element types -> bytes of a value: float, (u)int8, int32, int64, bool, float16,
double, bfloat16."""

MAX_RANK = 16
"""Window attention and pixel shuffles have 6 to 8 axes."""

_DTYPES = {"float32": 1, "uint8": 2, "int64": 7}


@dataclass(frozen=True)
class Tensor:
    """`kind` is ONNX's number of the element type."""

    kind: int
    shape: tuple[int, ...]

    @property
    def values(self) -> int:
        return prod(self.shape)

    @property
    def bytes(self) -> int:
        return prod(self.shape) * ITEM_BYTES.get(self.kind, 8)


class Structure:
    """A graph's nodes and what is known of its constants; its weights are not held."""

    def __init__(self, model: "onnx.ModelProto") -> None:
        import onnx

        self.nodes: list[onnx.NodeProto] = []
        """All but `Constant`."""
        self.constants: dict[str, Tensor] = {}
        self.outputs = tuple(value.name for value in model.graph.output)
        self._opsets = list(onnx.ModelProto(opset_import=model.opset_import).opset_import)
        self._ir_version = model.ir_version
        self._known: dict[str, NDArray[Any]] = {}
        for tensor in model.graph.initializer:
            self._add_constant(tensor.name, tensor)
        for node in model.graph.node:
            if node.op_type == "Constant":
                self._add_constant(node.output[0], _value_of(node))
            else:
                copy = onnx.NodeProto()  # a reference would keep the whole file in memory
                copy.CopyFrom(node)
                self.nodes.append(copy)

    def tensors(self, spec: GraphSpec, rows: int, size: Size) -> dict[str, Tensor]:
        """Every tensor by name. Raises ValueError where a size is not known before the graph is
        run, or where ONNX's inference finds a contradiction."""
        tensors = dict(self.constants)
        for tensor in spec.inputs:
            tensors[tensor.name] = Tensor(_DTYPES[tensor.dtype], (rows, *tensor.at(size)))
        known = dict(self._known)
        for node in self.nodes:
            made = self._infer(node, tensors, known)
            tensors |= made
            small = all(tensor.values <= MAX_KNOWN for tensor in made.values())
            values = _values(node, tensors, known) if small else None
            if values is not None:
                for name, array in zip(node.output, values, strict=False):
                    # Where numpy and the inference disagree, nothing is known.
                    if name and array.shape == made[name].shape:
                        known[name] = array
        return tensors

    def _add_constant(self, name: str, tensor: "onnx.TensorProto") -> None:
        import onnx

        self.constants[name] = Tensor(tensor.data_type, tuple(tensor.dims))
        if prod(tensor.dims) <= MAX_KNOWN and tensor.data_type in KINDS:
            self._known[name] = onnx.numpy_helper.to_array(tensor).copy()

    def _infer(
        self,
        node: "onnx.NodeProto",
        tensors: Mapping[str, Tensor],
        known: Mapping[str, NDArray[Any]],
    ) -> dict[str, Tensor]:
        import onnx

        unknown = [name for name in node.input if name and name not in tensors]
        if unknown:
            raise ValueError(f"{node.op_type} takes {unknown[0]!r}, which nothing makes")
        if node.op_type == "GroupNormalization":  # for which ONNX infers nothing
            return {node.output[0]: tensors[node.input[0]]}
        version = self._opsets[0].version
        types = {
            name: onnx.helper.make_tensor_type_proto(tensors[name].kind, tensors[name].shape)
            for name in node.input
            if name
        }
        data = {n: onnx.numpy_helper.from_array(known[n]) for n in node.input if n in known}
        try:
            schema = onnx.defs.get_schema(node.op_type, version, "")
            found = onnx.shape_inference.infer_node_outputs(
                schema, node, types, data, None, self._opsets, self._ir_version
            )
        except (
            onnx.defs.SchemaError,
            onnx.checker.ValidationError,
            onnx.shape_inference.InferenceError,
        ) as error:
            raise ValueError(f"not a valid ONNX graph: {error}") from error
        return {name: _tensor(node, name, found) for name in node.output if name}


def _tensor(node: "onnx.NodeProto", name: str, found: "Mapping[str, onnx.TypeProto]") -> Tensor:
    kind = found[name].tensor_type if name in found else None
    dims = list(kind.shape.dim) if kind is not None and kind.HasField("shape") else None
    if kind is None or dims is None or not all(dim.HasField("dim_value") for dim in dims):
        raise ValueError(f"the size of {name!r} ({node.op_type}) is unknown before it is run")
    shape = tuple(dim.dim_value for dim in dims)
    if any(length < 0 for length in shape):
        raise ValueError(f"{name!r} ({node.op_type}) has a negative dimension: {list(shape)}")
    if len(shape) > MAX_RANK:
        raise ValueError(f"{name!r} ({node.op_type}): expected at most {MAX_RANK} axes")
    return Tensor(kind.elem_type, shape)


def _values(
    node: "onnx.NodeProto", tensors: Mapping[str, Tensor], known: Mapping[str, NDArray[Any]]
) -> "list[NDArray[Any]] | None":
    if node.op_type in ("Shape", "Size"):
        shape = tensors[node.input[0]].shape
        if node.op_type == "Size":
            return [np.array(prod(shape), np.int64)]
        bounds = {a.name: a.i for a in node.attribute}
        return [np.array(shape[slice(bounds.get("start", 0), bounds.get("end"))], np.int64)]
    if not all(name in known for name in node.input if name):
        return None
    made = evaluate(node, [known[name] if name else None for name in node.input])
    return None if made is None else list(made)


def _value_of(node: "onnx.NodeProto") -> "onnx.TensorProto":
    """The tensor of a `Constant`; ValueError for text."""
    import onnx

    if len(node.attribute) != 1 or not node.output:
        raise ValueError("expected a Constant with one value")
    (attribute,) = node.attribute
    value = onnx.helper.get_attribute_value(attribute)
    if isinstance(value, onnx.TensorProto):
        return value
    floats = attribute.type in (onnx.AttributeProto.FLOAT, onnx.AttributeProto.FLOATS)
    try:
        return onnx.numpy_helper.from_array(np.array(value, np.float32 if floats else np.int64))
    except ValueError:
        raise ValueError(f"expected a Constant of numbers, found {attribute.name}") from None
