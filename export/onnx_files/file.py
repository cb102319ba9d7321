"""An ONNX file of anybody's: read, brought to what artifacts allow, and run as it is."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.external_data_helper
import onnx.inliner
import onnx.version_converter
from google.protobuf.message import DecodeError
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper

from export.causes import described_error
from export.graphs import needed_nodes, replace_nodes
from runtime.artifact.graph import ALLOWED_OPS, MAX_BYTES, MAX_OPSET, MIN_OPSET
from runtime.engines.sessions import CPU, import_onnxruntime, open_session
from runtime.errors import ExportError
from runtime.machine import cores

_MAKERS = {
    ".keras": 'a Keras model: model.export("model.onnx", format="onnx")',
    ".h5": 'a Keras model: model.export("model.onnx", format="onnx")',
    ".pth": "weights of torch: `python -m export module` takes them with their class",
    ".pt": "weights of torch: `python -m export module` takes them with their class",
    ".safetensors": "weights: `python -m export module` takes them with their class",
    ".tflite": "a TensorFlow Lite model: `python -m tf2onnx.convert --tflite` makes an ONNX file",
}
"""File names of others, and how they come here."""

_RESIZE_OPSET = 11
"""From it on, a Resize says how pixels lie over each other."""
_CONTROL = {"If", "Loop", "Scan"}
_RANDOM = {"Bernoulli", "Multinomial"}


@dataclass(frozen=True)
class Port:
    """An input or output of the file. `kind`: ONNX's number of the element type; `shape`: with the
    batch axis, free axes as None; None where the file says nothing of it."""

    name: str
    kind: int
    shape: tuple[int | None, ...] | None

    @property
    def row(self) -> tuple[int, ...] | None:
        """The shape without the batch axis, where all of it is known."""
        row = () if self.shape is None else self.shape[1:]
        known = tuple(length for length in row if length is not None)
        return known if self.shape and len(known) == len(row) else None

    def __str__(self) -> str:
        kind = TensorProto.DataType.Name(self.kind).lower()
        shape = "" if self.shape is None else [length or "?" for length in self.shape]
        return f"{self.name!r} {kind} {shape}".rstrip()


class OnnxFile:
    """`model` holds what the chosen outputs need, in an opset and operators of artifacts: local
    functions inlined, data from other files taken in. `run` runs the file itself.

    `chosen`: names of outputs, in order; all of them without it. Raises ExportError for what is no
    ONNX file, and for one that no artifact can hold.
    """

    def __init__(self, path: Path, chosen: Sequence[str] = ()) -> None:
        self.path = path
        model, self._outside = _read(path)
        self.producer = f"{model.producer_name} {model.producer_version}".strip() or "not stated"
        self.opset = _opset(model)
        outputs = {value.name: value for value in model.graph.output}
        for name in chosen:
            if name not in outputs:
                raise ExportError(
                    f"{path}: expected one of the outputs {list(outputs)}, found {name!r}"
                )
        kept = [outputs[name] for name in chosen or outputs]
        weights = {tensor.name for tensor in model.graph.initializer}
        inputs = [value for value in model.graph.input if value.name not in weights]
        ports = [_port(path, value) for value in inputs]
        self.outputs = tuple(_port(path, value) for value in kept)
        self.model = _allowed(model, kept, path)
        used = {name for node in self.model.graph.node for name in node.input}
        used |= {value.name for value in kept}
        self.inputs = tuple(port for port in ports if port.name in used)
        self._unused = tuple(port for port in ports if port.name not in used)

    @cached_property
    def batch(self) -> int | None:
        """The length of the batch axis, where the file fixes it."""
        lengths = {port.shape[0] for port in self.inputs if port.shape} - {None}
        if len(lengths) > 1:
            raise ExportError(
                f"{self.path}: expected one batch in all inputs, found {self.described()}"
            )
        return next(iter(lengths), None)

    def described(self) -> str:
        """Its inputs and outputs, for errors."""
        inputs, outputs = (", ".join(map(str, ports)) for ports in (self.inputs, self.outputs))
        return f"inputs {inputs}; outputs {outputs}"

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
        """The chosen outputs for so many rows, by ONNX Runtime: a file whose batch is fixed is run
        on that many rows at a time."""
        rows = len(next(iter(inputs.values())))
        step = self.batch or rows
        parts: list[list[NDArray[Any]]] = []
        for start in range(0, rows, step):
            # The last rows again, until the batch is full.
            picked = np.minimum(np.arange(start, start + step), rows - 1)
            parts.append(self._run({name: array[picked] for name, array in inputs.items()}))
        return [np.concatenate(made)[:rows] for made in zip(*parts, strict=True)]

    def _run(self, inputs: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
        names = [port.name for port in self.outputs]
        rows = len(next(iter(inputs.values())))
        unused = {
            port.name: np.zeros(
                (rows, *(port.row or ())), helper.tensor_dtype_to_np_dtype(port.kind)
            )
            for port in self._unused
        }
        session, options = self._session, import_onnxruntime().RunOptions()
        options.log_severity_level = 4  # the exception says it
        try:
            made: list[NDArray[Any]] = session.run(names, {**inputs, **unused}, options)
        except Exception as error:  # the library raises its own kinds, and RuntimeError
            shapes = ", ".join(f"{name} {list(array.shape)}" for name, array in inputs.items())
            hint = ": where a node wants another batch, write the file with a free batch axis"
            for port in self.inputs:
                if port.shape == ():
                    hint = f": {port} is given a number for each row: write it as [B] or [B, 1]"
            raise ExportError(
                f"{self.path}: onnxruntime failed on {shapes}: {described_error(error)}"
                f"{hint if rows > 1 else ''}"
            ) from error
        for port, array in zip(self.outputs, made, strict=True):
            if not array.ndim:
                raise ExportError(f"{self.path}: {port}: expected a row for each of a batch")
        return made

    @cached_property
    def _session(self) -> Any:
        provider: tuple[str, dict[str, str]] = (CPU, {})
        # Where its data lies in other files, ONNX Runtime takes no shape from there.
        data = _read(self.path)[0].SerializeToString() if self._outside else str(self.path)
        return open_session(import_onnxruntime(), data, str(self.path), provider, threads=cores())


def _read(path: Path) -> tuple[ModelProto, bool]:
    """The file with all its data, and whether some of that lies in other files."""
    if not path.is_file():
        raise ExportError(f"{path}: expected an ONNX file, found none")
    hint = _MAKERS.get(path.suffix.lower(), "")
    try:
        model = onnx.load_model(path, load_external_data=False)
    except DecodeError:
        model = ModelProto()
    if not model.graph.node or not model.opset_import:
        raise ExportError(
            f"{path}: expected an ONNX file, found something else{hint and f' ({hint})'}"
        )
    outside = any(map(onnx.external_data_helper.uses_external_data, model.graph.initializer))
    try:
        onnx.external_data_helper.load_external_data_for_model(model, str(path.parent))
    except Exception as error:  # of several kinds; the file may say what it likes
        raise ExportError(
            f"{path}: its data lies in other files, which cannot be read: {described_error(error)}:"
            " keep them where they were beside it"
        ) from error
    if model.ByteSize() >= MAX_BYTES:
        raise ExportError(
            f"{path}: expected under {MAX_BYTES} bytes with its data, found {model.ByteSize()}"
        )
    return model, outside


def _port(path: Path, value: onnx.ValueInfoProto) -> Port:
    kind = value.type.WhichOneof("value")
    if kind != "tensor_type":
        raise ExportError(
            f"{path}: {value.name!r}: expected a tensor, found a {str(kind).removesuffix('_type')}:"
            " sequences and optionals are not served; choose other outputs (--output NAME)"
        )
    tensor = value.type.tensor_type
    shape = tuple(d.dim_value if d.dim_value > 0 else None for d in tensor.shape.dim)
    return Port(value.name, tensor.elem_type, shape if tensor.HasField("shape") else None)


def _opset(model: ModelProto) -> int:
    return next((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), 0)


def _allowed(given: ModelProto, outputs: Sequence[onnx.ValueInfoProto], path: Path) -> ModelProto:
    """The file with these outputs alone, in an opset that artifacts have, of their operators."""
    if _opset(given) <= MAX_OPSET:  # others are converted, or refused
        _check(given, path)
    model = ModelProto()
    model.CopyFrom(given)
    if model.functions:
        model = onnx.inliner.inline_local_functions(model, True)
    graph = model.graph
    del graph.output[:], graph.value_info[:]
    graph.output.extend(outputs)
    replace_nodes(model, needed_nodes(model), list(graph.initializer))
    weights = {tensor.name for tensor in given.graph.initializer}
    inputs = [value for value in given.graph.input if value.name not in weights]
    del graph.input[:]
    graph.input.extend(inputs)
    model.ir_version = max(model.ir_version, 8)  # older ones want weights among the inputs
    version = _opset(model)
    if not MIN_OPSET <= version <= MAX_OPSET:
        model = _converted(model, MIN_OPSET if version < MIN_OPSET else MAX_OPSET, path)
    if version < _RESIZE_OPSET:
        _keep_resizes(model)
    off = _constants_of_false(model)
    used = {name for node in model.graph.node for name in node.input}
    used |= {value.name for value in outputs}
    for node in model.graph.node:
        _drop_dropout(node, off, used)
    _refuse(model, path)
    version = _opset(model)
    del model.opset_import[:]
    model.opset_import.append(helper.make_opsetid("", version))
    model.ir_version = max(model.ir_version, helper.find_min_ir_version_for(model.opset_import))
    for node in model.graph.node:
        node.domain = ""
    return model


def _check(given: ModelProto, path: Path) -> None:
    """ONNX's own check. Some makers leave out shapes that they do not know, which it refuses:
    without it, a shape is looked at no further here."""
    kinds = [value.type.tensor_type for value in (*given.graph.input, *given.graph.output)]
    shapeless = [kind for kind in kinds if kind.elem_type and not kind.HasField("shape")]
    for kind in shapeless:
        kind.shape.SetInParent()
    try:
        onnx.checker.check_model(given)
    except onnx.checker.ValidationError as error:
        raise ExportError(
            f"{path}: expected a valid ONNX graph, found {' '.join(str(error).split())}"
        ) from error
    finally:
        for kind in shapeless:
            kind.ClearField("shape")


def _constants_of_false(model: ModelProto) -> set[str]:
    """The names of those that are one false."""
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in model.graph.node:
        for attribute in node.attribute if node.op_type == "Constant" else ():
            if attribute.name == "value":
                tensors[node.output[0]] = attribute.t
    flags = {n: t for n, t in tensors.items() if t.data_type == TensorProto.BOOL and not t.dims}
    return {name for name, flag in flags.items() if not onnx.numpy_helper.to_array(flag)}


def _drop_dropout(node: onnx.NodeProto, off: Collection[str], used: Collection[str]) -> None:
    """It does nothing outside training; some makers list its mask, and nothing uses that."""
    training = len(node.input) > 2 and node.input[2] and node.input[2] not in off
    if node.op_type == "Dropout" and not training and not set(node.output[1:]) & set(used):
        node.op_type = "Identity"
        node.ClearField("attribute")
        del node.input[1:], node.output[1:]


def _converted(model: ModelProto, opset: int, path: Path) -> ModelProto:
    try:
        return onnx.version_converter.convert_version(model, opset)
    except Exception as error:  # the converter raises RuntimeError, and kinds of its own
        _refuse(model, path)  # which may say more
        raise ExportError(
            f"{path}: expected opset {MIN_OPSET} to {MAX_OPSET}, found {_opset(model)}, which onnx "
            f"cannot convert: {described_error(error)}: write the file with opset 20"
        ) from error


def _keep_resizes(model: ModelProto) -> None:
    """Before opset 11, Upsample and Resize knew one way of laying pixels over each other; onnx's
    converter leaves it out, and so takes today's default, which is another."""
    for node in model.graph.node:
        if node.op_type == "Resize" and len(node.attribute) == 1:  # its mode
            ways = [("coordinate_transformation_mode", "asymmetric")]
            if node.attribute[0].s == b"nearest":
                ways.append(("nearest_mode", "floor"))
            node.attribute.extend(helper.make_attribute(*way) for way in ways)


def _refuse(model: ModelProto, path: Path) -> None:
    for node in model.graph.node:
        name = node.name or ", ".join(node.output)
        trains = any(a.name == "training_mode" and a.i for a in node.attribute)
        if trains or node.op_type == "Dropout":
            raise ExportError(
                f"{path}: {name}: expected a network in eval mode, found {node.op_type} in train "
                "mode: write the file after model.eval() (torch.onnx.export: "
                "training=TrainingMode.EVAL)"
            )
        if node.domain in ("", "ai.onnx") and node.op_type in ALLOWED_OPS:
            continue
        kind = f"{node.domain}::{node.op_type}" if node.domain else node.op_type
        raise ExportError(
            f"{path}: {name}: operator {kind} is not among those an artifact may use: "
            f"{_remedy(node.domain, node.op_type)}"
        )


def _remedy(domain: str, operator: str) -> str:
    if domain not in ("", "ai.onnx"):
        return (
            "write the file with standard operators alone (before ONNX Runtime's optimiser, "
            "and without contrib or custom operators)"
        )
    if operator.startswith("Random") or operator in _RANDOM:
        return (
            "an artifact draws no random numbers in a graph: make the noise an input of the file, "
            "and name it (--noise NAME), or choose outputs that need none (--output NAME)"
        )
    if operator in _CONTROL:
        return (
            "no control flow: write the file with fixed choices, or fold them "
            "(onnxscript.optimizer.optimize, onnxsim)"
        )
    if operator.startswith(("Sequence", "Optional", "Split", "Concat")):
        return "no sequences or optionals: write the file with tensors alone"
    return (
        "write the file with operators whose results have sizes that are known beforehand "
        "(runtime/artifact/graph.py lists them)"
    )
