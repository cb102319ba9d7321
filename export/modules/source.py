"""A torch module as the source of a graph."""

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from export.causes import described_error
from export.modules.convert import to_onnx
from export.modules.frozen import fresh_copy, kept
from export.modules.graph_module import GraphModule, translated_shape
from export.modules.outputs import outputs_of, wrong_outputs
from export.options import ExportOptions
from export.sources import Source, batch_size
from runtime.artifact.manifest import Axis
from runtime.artifact.tensors import GraphSpec
from runtime.engines.backend import Tensors
from runtime.errors import ExportError


class TorchSource(Source):
    """A module with weights; the export works on a copy of it."""

    def __init__(self, module: nn.Module) -> None:
        self._module = module

    @property
    def description(self) -> str:
        return f"module {type(self._module).__module__}:{type(self._module).__qualname__}"

    def translated_shape(self, options: ExportOptions) -> tuple[int, int, int]:
        return translated_shape(self._module, options)

    def network(self, graph: str, spec: GraphSpec, options: ExportOptions) -> "TorchNetwork":
        return TorchNetwork(graph, GraphModule(self._module, spec, options.image.value_range), spec)


class TorchNetwork:
    """`export.sources.Network` of a torch module."""

    compared_with = None

    def __init__(self, graph: str, module: GraphModule, spec: GraphSpec) -> None:
        self._graph, self._module, self._spec = graph, module, spec
        self._fresh = fresh_copy(module)

    def floats(self, inputs: Tensors) -> list[NDArray[Any]]:
        spec, module = self._spec, self._module
        with torch.inference_mode():
            # Copies: a forward may change in place what it is given.
            given = [module.given(torch.tensor(inputs[t.name]), t) for t in spec.inputs]
        try:
            with torch.inference_mode():
                made = outputs_of(module.module(*given), len(spec.outputs))
        except ExportError:  # of outputs that were chosen
            raise
        except Exception as error:  # whatever a user's forward raises
            taken = ", ".join(
                f"{tensor.name} {list(array.shape)}"
                for tensor, array in zip(spec.inputs, given, strict=True)
            )
            labels = "; labels are class indices, int64" if spec.input("labels") else ""
            raise ExportError(
                f"{self._graph}: the module failed on {taken}: {described_error(error)} (forward "
                "is called with these, by position, and its weights are float32, as they are; the "
                f"batch may have any size: not a fixed one, but expand(len(x), ...){labels})"
            ) from error
        wrong = wrong_outputs(self._graph, made, [tensor.name for tensor in spec.outputs])
        if wrong:
            raise ExportError(wrong)
        return [_array(tensor) for tensor in made]

    def outputs(self, inputs: Tensors) -> Tensors:
        tensors = [torch.tensor(inputs[tensor.name]) for tensor in self._spec.inputs]
        try:
            with torch.inference_mode():
                outputs = self._module(*tensors)
        except Exception as error:  # whatever a user's forward raises
            raise ExportError(
                f"{self._spec.file}: the module failed on a batch of {batch_size(inputs)}: "
                f"{described_error(error)}"
            ) from error
        return {t.name: made.numpy() for t, made in zip(self._spec.outputs, outputs, strict=True)}

    def to_onnx(self, axes: Mapping[str, Axis]) -> bytes:
        try:
            return to_onnx(self._module, self._spec, axes)
        except ExportError:
            # A forward may keep what it made for the size of one call, and compare with the next.
            if kept(self._module) != kept(self._fresh):
                with suppress(ExportError):
                    return to_onnx(self._fresh, self._spec, axes)
            raise


def _array(tensor: Tensor) -> NDArray[Any]:
    # numpy has no bfloat16
    return (tensor.float() if tensor.is_floating_point() else tensor).numpy()
