"""An ONNX file as the source of a graph."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper

from export.graphs import finished
from export.onnx_file import OnnxFile, Port
from export.onnx_tensors import FLOATS, INTEGERS, UINT8, Bound, Pixels
from export.onnx_wrapping import free_batch, lost_batch, wrapped
from export.options import ExportOptions
from export.sources import Source
from runtime.artifact.manifest import Axis
from runtime.artifact.tensors import SIGNATURES, GraphSpec, Role, TensorSpec
from runtime.engines.backend import Tensors
from runtime.errors import ExportError


@dataclass(frozen=True)
class Meaning:
    """What a file does not say of itself. `value_range`: its floats for black and white; `mean` and
    `std`: the normalisation of the images that it takes, a channel each, in that range; names of
    inputs; `sizes`: rows of inputs by name, where the file leaves them open."""

    layout: Literal["nchw", "nhwc"] | None = None
    value_range: tuple[float, float] = (-1.0, 1.0)
    mean: Sequence[float] = ()
    std: Sequence[float] = ()
    labels: bool = False
    mask: str | None = None
    truncation: str | None = None
    noise: Sequence[str] = ()
    sizes: Mapping[str, tuple[int, ...]] = field(default_factory=dict[str, tuple[int, ...]])


class OnnxSource(Source):
    """A file whose tensors are bound to the roles of a graph.

    `latent` and `image`: the shapes at the default size, as far as they are known: the file says
    the rest, or is run once on zeros. Raises ExportError where file and meaning do not fit.
    """

    def __init__(
        self,
        graph: str,
        file: OnnxFile,
        meaning: Meaning,
        *,
        latent: tuple[int, ...] | None = None,
        image: tuple[int, int, int] | None = None,
    ) -> None:
        self.file, self._graph, self._meaning = file, graph, meaning
        self.inputs = [self._bound(role, port) for role, port in self._roles(image)]
        main = self.inputs[0]
        if main.role == "images":
            self.inputs = [self._input_pixels(bound, image) for bound in self.inputs]
            main = self.inputs[0]
            row = image and _arranged(image, main.planes)
        else:
            row = latent
        self._rows = [row or self._row(main.port), *(self._row(b.port) for b in self.inputs[1:])]
        made = [port.row for port in file.outputs]
        shapes = [row for row in made if row is not None]
        if len(shapes) < len(made):
            shapes = [array.shape[1:] for array in file.run(self._zeros())]
        self.outputs = [
            self._output(role, port, row, image)
            for role, port, row in zip(self._output_roles(), file.outputs, shapes, strict=True)
        ]
        self._made = shapes

    @property
    def description(self) -> str:
        return f"ONNX file {self.file.path.name}"

    @property
    def latent(self) -> tuple[int, ...] | None:
        """The shape of a latent."""
        if self.inputs[0].role == "latents":
            return self._rows[0]
        found = (s for b, s in zip(self.outputs, self._made, strict=True) if b.role in _LATENTS)
        return next(found, None)

    @property
    def image(self) -> tuple[int, int, int]:
        """The (H, W, C) of the images that it takes, or of those that it makes of latents."""
        if self.inputs[0].role == "images":
            return _disarranged(self._rows[0], self.inputs[0].planes)
        return _disarranged(self._made[0], self.outputs[0].planes)

    @property
    def codes(self) -> tuple[int, ...]:
        """The shape of an image's codes; empty where there are none."""
        found = zip(self.outputs, self._made, strict=True)
        return next((shape for bound, shape in found if bound.role == "codes"), ())

    def rows_of(self, role: Role) -> dict[str, tuple[int, ...]]:
        """The rows of all inputs of a role, by name."""
        found = zip(self.inputs, self._rows, strict=True)
        return {bound.port.name: row for bound, row in found if bound.role == role}

    def translated_shape(self, options: ExportOptions) -> tuple[int, int, int]:
        height, width, channels = _disarranged(self._made[0], self.outputs[0].planes)
        return channels, height, width

    def network(self, graph: str, spec: GraphSpec, options: ExportOptions) -> "OnnxNetwork":
        both = ((spec.inputs, self.inputs), (spec.outputs, self.outputs))
        for tensors, bounds in both:
            for tensor, bound in zip(tensors, bounds, strict=True):
                self._check_shape(tensor, bound)
        return OnnxNetwork(self.file, spec, self.inputs, self.outputs)

    def _roles(self, image: tuple[int, int, int] | None) -> list[tuple[Role, Port]]:
        """The inputs in the order of a signature."""
        meaning, left = self._meaning, {port.name: port for port in self.file.inputs}
        mask = left.pop(meaning.mask, None) if meaning.mask else None
        truncation = left.pop(meaning.truncation, None) if meaning.truncation else None
        noise = [left.pop(name) for name in meaning.noise if name in left]
        whole = [port for port in left.values() if port.kind in INTEGERS]
        if len(whole) == 1 and meaning.labels:
            del left[whole[0].name]
        elif whole or (meaning.labels and self._graph != "encode"):
            raise self._refused(
                "one input of class indices where there are --labels, and none without"
            )
        if len(left) != 1:
            raise self._refused(
                "one input besides those that are named (--noise, --mask, --truncation) and "
                "class indices (--labels)"
            )
        main: Role = "latents" if self._graph == "decode" else "images"
        found: list[tuple[Role, Port | None]] = [(main, next(iter(left.values())))]
        found.append(("mask", mask))
        found.extend(("labels", port) for port in whole)
        found.append(("truncation", truncation))
        found.extend(("noise", port) for port in noise)
        return [(role, port) for role, port in found if port is not None]

    def _output_roles(self) -> tuple[Role, ...]:
        found, encodes = self.file.outputs, self._graph == "encode"
        drawn = encodes and any(bound.role == "noise" for bound in self.inputs)
        coded = encodes and found[-1].kind in INTEGERS
        for roles in SIGNATURES[self._graph].gives:
            fits = drawn == ("log_density" in roles) and coded == ("codes" in roles)
            if fits and len(roles) == len(found):
                return roles
        known = " or ".join("(" + ", ".join(roles) + ")" for roles in SIGNATURES[self._graph].gives)
        raise self._refused(f"outputs {known}: choose them in this order with --output NAME")

    def _refused(self, expected: str) -> ExportError:
        return ExportError(
            f"{self._graph}: {self.file.path}: expected {expected}; found {self.file.described()}"
        )

    def _bound(self, role: Role, port: Port) -> Bound:
        allowed = {"labels": INTEGERS, "codes": INTEGERS, "images": (*FLOATS, UINT8)}
        kinds = allowed.get(role, FLOATS)
        if port.kind not in kinds:
            known = " or ".join(TensorProto.DataType.Name(kind).lower() for kind in kinds)
            raise self._refused(f"{known} for {role.replace('_', ' ')}, {port.name!r}")
        scalar = role in ("labels", "truncation", "log_density")
        if port.kind == UINT8 and self._meaning.value_range != (0.0, 255.0):
            raise self._refused(f"--value-range 0 255, as {port.name!r} holds bytes")
        return Bound(port, role, column=scalar and len(port.shape or ()) == 2)

    def _input_pixels(self, bound: Bound, image: tuple[int, int, int] | None) -> Bound:
        """With the layout and the range of images and masks that the file takes."""
        if bound.role not in ("images", "mask"):
            return bound
        main = self.inputs[0].port
        planes = self._planes(main, (main.shape or (None,))[1:], image and image[2])
        meaning = self._meaning
        pixels = Pixels.of(meaning.value_range, meaning.mean, meaning.std, planes=planes)
        if bound.role == "mask":
            pixels = Pixels.of((0.0, 1.0), planes=planes)
        return replace(bound, planes=planes, pixels=None if bound.port.kind == UINT8 else pixels)

    def _output(
        self, role: Role, port: Port, row: tuple[int, ...], image: tuple[int, int, int] | None
    ) -> Bound:
        bound = self._bound(role, port)
        if role != "images":
            return replace(bound, column=bound.column or (role == "log_density" and len(row) == 1))
        channels = image[2] if image and self._graph == "decode" else None
        planes = self._planes(port, row, channels)
        pixels = Pixels.of(self._meaning.value_range, planes=planes)
        return replace(bound, planes=planes, pixels=pixels)

    def _planes(self, port: Port, row: Sequence[int | None], channels: int | None) -> bool:
        """Whether images are [B, C, H, W]."""
        if self._meaning.layout is not None:
            return self._meaning.layout == "nchw"
        if len(row) == 3:
            for likely in ((channels,) if channels else (1, 3), (1, 2, 3, 4)):
                if (row[0] in likely) != (row[2] in likely):
                    return row[0] in likely
            if self._graph == "translate" and port in self.file.outputs:
                return self.inputs[0].planes
        found = ", ".join("?" if length is None else str(length) for length in ("B", *row))
        remedy = "say which (--layout nchw or nhwc)"
        if len(row) != 3:
            remedy = "end the file with a Reshape to one of these"
        raise ExportError(
            f"{self._graph}: {self.file.path}: {port.name!r}: expected images [B, C, H, W] or "
            f"[B, H, W, C], found [{found}]: {remedy}"
        )

    def _row(self, port: Port) -> tuple[int, ...]:
        row = self._meaning.sizes.get(port.name, port.row)
        if row is None:
            raise ExportError(
                f"{self._graph}: {self.file.path}: expected a fixed shape, found {port}: state it "
                "(--latent, --image, --noise NAME=SHAPE)"
            )
        return row

    def _zeros(self) -> dict[str, NDArray[Any]]:
        return {
            bound.port.name: np.zeros((1, *row), helper.tensor_dtype_to_np_dtype(bound.port.kind))
            for bound, row in zip(self.inputs, self._rows, strict=True)
        }

    def _check_shape(self, tensor: TensorSpec, bound: Bound) -> None:
        """Refuse what the options say otherwise than the file."""
        port = bound.port
        wanted = tensor.shape
        if tensor.role in ("images", "mask"):
            height, width, channels = tensor.shape
            wanted = (channels, height, width) if bound.planes else tensor.shape
        if bound.column:
            wanted = (1,)
        row = (None,) * len(wanted) if port.shape is None else port.shape[1:]
        pairs = zip(row, wanted, strict=len(row) == len(wanted))
        if len(row) != len(wanted) or any(has not in (None, wants) for has, wants in pairs):
            raise ExportError(
                f"{self._graph}: {tensor.name}: expected {['B', *wanted]} as the options say, "
                f"found {port} in {self.file.path}: state other shapes, or leave out --axis where "
                "the file's are fixed"
            )


_LATENTS: tuple[Role, ...] = ("latents", "mean")


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
            if node is None:
                raise
            raise ExportError(
                f"{error}: {file.path}: {node} keeps the batch that the file was written for, "
                "where it should go with the rows: write the file with a free batch axis "
                "(dynamic_shapes of torch.onnx.export)"
            ) from error


def _arranged(image: tuple[int, int, int], planes: bool) -> tuple[int, int, int]:
    height, width, channels = image
    return (channels, height, width) if planes else image


def _disarranged(row: Sequence[int], planes: bool) -> tuple[int, int, int]:
    first, second, third = row
    return (second, third, first) if planes else (first, second, third)
