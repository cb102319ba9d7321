"""Whether a graph is local, and how far it looks: what decides if tiles give the whole image.

Each tensor that extends along height and width is followed through the graph, operator by operator
(`export.tiles.neighbourhood`). Whatever mixes positions without bound (a norm over the image,
attention between positions, a fully connected layer), depends on the image's size, or is not known,
makes the graph global: then tiles are approximate.
"""

import math
from collections.abc import Mapping
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
import onnx

from export.tiles.neighbourhood import (
    ARGUMENTS,
    COUNTED,
    RULES,
    Along,
    GlobalError,
    Op,
    Shapes,
    Sizes,
)
from runtime.artifact.manifest import Axis
from runtime.artifact.shapes import Structure
from runtime.artifact.size import SIZE_AXES, parse
from runtime.artifact.tensors import GraphSpec, TensorSpec

_LARGEST_CONSTANT = 64
"""Values: those of paddings, bounds of slices, and the like."""


def halo_of(model: onnx.ModelProto, spec: GraphSpec, axes: Mapping[str, Axis]) -> int | None:
    """How many pixels beyond its own an output of a local graph depends on; None for a graph that
    is not known to be local, or whose elements lie otherwise in a tile than in the whole image."""
    try:
        return _Tracer(model, spec, axes).halo()
    except (GlobalError, ValueError, IndexError):
        return None


class _Tracer:
    def __init__(self, model: onnx.ModelProto, spec: GraphSpec, axes: Mapping[str, Axis]) -> None:
        self.spec = spec
        structure = Structure(model)
        self.nodes = structure.nodes
        self.sizes = _sizes(structure, spec, axes)
        self.values = {
            tensor.name: onnx.numpy_helper.to_array(tensor)
            for tensor in model.graph.initializer
            if math.prod(tensor.dims) <= _LARGEST_CONSTANT
        }
        for node in model.graph.node:
            if node.op_type == "Constant":
                (value,) = _attributes(node).values()
                self.values[node.output[0]] = np.asarray(value)
        self.spatial: dict[str, tuple[Along, ...]] = {}
        """The tensors that extend along height and width."""
        self.sized: set[str] = set()
        """Those whose values follow from the size of the image, or from the place in it: in a tile
        they are others."""

    def halo(self) -> int:
        for tensor in self.spec.inputs:
            if any(isinstance(dim, str) for dim in tensor.shape):
                self.spatial[tensor.name] = _cells(tensor)
        for node in self.nodes:
            self._trace(node)
        most = Fraction(0)
        for tensor in self.spec.outputs:
            if tensor.name not in self.spatial:
                raise GlobalError
            for found, own in zip(self.spatial[tensor.name], _cells(tensor), strict=True):
                if found.step != own.step or found.dim != own.dim:
                    raise GlobalError
                beyond = found.reach + abs(found.centre - own.centre) - own.reach
                most = max(most, beyond, found.border)
        return math.ceil(most)

    def _trace(self, node: onnx.NodeProto) -> None:
        spatial = {name: self.spatial[name] for name in node.input if name in self.spatial}
        if not spatial or node.op_type in ("Shape", "Size"):
            if spatial or not self.sized.isdisjoint(node.input):
                self.sized.update(node.output)
            return
        rule = RULES.get(node.op_type)
        values = node.input[: ARGUMENTS.get(node.op_type, len(node.input))]
        if rule is None or not self.sized.isdisjoint(values):
            raise GlobalError
        for number, name in enumerate(node.output):
            if not name:
                continue
            if (node.op_type, number) in COUNTED:
                self.sized.add(name)
                continue
            op = Op(node, name, _attributes(node), spatial, self.values, self.sizes)
            placed = tuple(self._placed(rule(op, axis), name, axis) for axis in range(2))
            if placed[0].dim == placed[1].dim:
                raise GlobalError
            self.spatial[name] = placed

    def _placed(self, along: Along, name: str, axis: int) -> Along:
        """Checked against the tensor's shape, and whether tiles begin where its elements do."""
        step = self.sizes.step(name, axis)
        if step != along.step or (self.sizes.more[axis] / step).denominator != 1:
            raise GlobalError
        return replace(along, dim=self.sizes.dim(name, axis))


def _cells(tensor: TensorSpec) -> tuple[Along, ...]:
    """An input or output of the graph: each element is its own cell of the image."""
    found: list[Along] = []
    for name in SIZE_AXES:
        for place, dim in enumerate(tensor.shape, start=1):
            if isinstance(dim, str) and parse(dim)[1] == name:
                factor, _, divisor = parse(dim)
                step = Fraction(divisor, factor)
                found.append(Along(place, step, step / 2, step / 2))
    if len(found) != len(SIZE_AXES):
        raise GlobalError
    return tuple(found)


def _sizes(structure: Structure, spec: GraphSpec, axes: Mapping[str, Axis]) -> Sizes:
    smallest = {name: axis.min for name, axis in axes.items()}

    def shapes(size: Mapping[str, int]) -> Shapes:
        tensors = structure.tensors(spec, 1, tuple(size.items()))
        return {name: tensor.shape for name, tensor in tensors.items()}

    more = [axes[name].multiple_of for name in SIZE_AXES]
    grown = [
        shapes({**smallest, name: smallest[name] + steps})
        for name, steps in zip(SIZE_AXES, more, strict=True)
    ]
    return Sizes(shapes(smallest), grown, more)


def _attributes(node: onnx.NodeProto) -> dict[str, Any]:
    def plain(attribute: onnx.AttributeProto) -> Any:
        value = onnx.helper.get_attribute_value(attribute)
        if isinstance(value, onnx.TensorProto):
            return onnx.numpy_helper.to_array(value)
        return value.decode() if isinstance(value, bytes) else value

    return {attribute.name: plain(attribute) for attribute in node.attribute}
