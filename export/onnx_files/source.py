"""An ONNX file as the source of a graph."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, helper

from export.graphs import finished
from export.onnx_files.binding import Binding, Meaning
from export.onnx_files.file import OnnxFile
from export.onnx_files.tensors import Bound
from export.onnx_files.wrapping import PREFIX, free_batch, lost_batch, wrapped
from export.options import ExportOptions
from export.sources import Source
from runtime.artifact.manifest import Axis
from runtime.artifact.size import Dim
from runtime.artifact.tensors import GraphSpec, Role, TensorSpec
from runtime.engines.backend import Tensors
from runtime.errors import ExportError


class OnnxSource(Source):
    """A file whose tensors are bound to those of a graph, in the order of its signature.

    It is run once on zeros where it does not say the shapes of its outputs. Raises ExportError
    where file and meaning do not fit.
    """

    def __init__(self, graph: str, file: OnnxFile, meaning: Meaning) -> None:
        self._graph, self._file = graph, file
        binding = Binding(graph, file, meaning)
        self.inputs = binding.inputs()
        rows = [port.row for port in file.outputs]
        known = [row for row in rows if row is not None]
        if len(known) < len(rows):
            known = [array.shape[1:] for array in file.run(self._zeros())]
        self.outputs = binding.outputs(self.inputs, known)

    @property
    def description(self) -> str:
        return f"ONNX file {self._file.path.name}"

    @property
    def image(self) -> tuple[int, int, int]:
        """The (H, W, C) of the images that it takes, or of those that it makes of latents."""
        both = (*self.inputs, *self.outputs)
        return next(bound.image for bound in both if bound.role == "images")

    def rows(self, *roles: Role) -> dict[str, tuple[int, ...]]:
        """The shapes of its tensors of these roles, by name."""
        both = (*self.inputs, *self.outputs)
        return {bound.port.name: bound.row for bound in both if bound.role in roles}

    def translated_shape(self, options: ExportOptions) -> tuple[int, int, int]:
        height, width, channels = self.outputs[0].image  # those of `options.image`
        low, wide = options.smallest_image
        usual = options.image
        return channels, height * low // usual.height, width * wide // usual.width

    def network(self, graph: str, spec: GraphSpec, options: ExportOptions) -> "OnnxNetwork":
        for tensors, bounds in ((spec.inputs, self.inputs), (spec.outputs, self.outputs)):
            for tensor, bound in zip(tensors, bounds, strict=True):
                self._check_shape(tensor, bound)
        return OnnxNetwork(self._file, spec, self.inputs, self.outputs)

    def _zeros(self) -> dict[str, NDArray[Any]]:
        return {
            b.port.name: np.zeros((1, *b.row), helper.tensor_dtype_to_np_dtype(b.port.kind))
            for b in self.inputs
        }

    def _check_shape(self, tensor: TensorSpec, bound: Bound) -> None:
        """Refuse options that say otherwise than the file."""
        wanted: tuple[Dim, ...] = (1,) if bound.column else tensor.shape
        if bound.planes:
            wanted = (tensor.shape[2], *tensor.shape[:2])
        shape = bound.port.shape
        row = (None,) * len(wanted) if shape is None else shape[1:]
        fits = len(row) == len(wanted) and all(
            has in (None, wants) for has, wants in zip(row, wanted, strict=True)
        )
        if not fits:
            raise ExportError(
                f"{self._graph}: {tensor.name}: expected {['B', *wanted]} as the options say, "
                f"found {bound.port} in {self._file.path}: state other shapes, or leave out --axis "
                "where the file's are fixed"
            )


class OnnxNetwork:
    """`export.sources.Network` of an ONNX file; what surrounds it is computed by numpy."""

    compared_with = "the given file as ONNX Runtime runs it"

    def __init__(
        self, file: OnnxFile, spec: GraphSpec, inputs: Sequence[Bound], outputs: Sequence[Bound]
    ) -> None:
        self._file, self._spec, self._inputs, self._outputs = file, spec, inputs, outputs

    def floats(self, inputs: Tensors) -> list[NDArray[Any]]:
        made = self._run(inputs)
        return [bound.floats(array) for bound, array in zip(self._outputs, made, strict=True)]

    def outputs(self, inputs: Tensors) -> Tensors:
        both = zip(self._spec.outputs, self._outputs, self._run(inputs), strict=True)
        return {tensor.name: bound.made(array, tensor) for tensor, bound, array in both}

    def _run(self, inputs: Tensors) -> list[NDArray[Any]]:
        both = zip(self._spec.inputs, self._inputs, strict=True)
        return self._file.run({b.port.name: b.given(inputs[t.name]) for t, b in both})

    def to_onnx(self, axes: Mapping[str, Axis]) -> bytes:
        file, spec = self._file, self._spec
        model = ModelProto()
        model.CopyFrom(file.model)
        if file.batch is not None:
            free_batch(model, file.batch)
        graph = wrapped(model, spec, self._inputs, self._outputs)
        try:
            return finished(graph, spec, axes, str(file.path))
        except ExportError as error:
            size = tuple((name, axis.min) for name, axis in axes.items())
            node = lost_batch(graph, spec, size)
            hint = (
                f": {node} keeps the batch that the file was written for: write it with a free "
                "batch axis (dynamic_shapes of torch.onnx.export)"
            )
            said = str(error).replace(PREFIX, "")
            raise ExportError(said + (hint if node else "")) from error
