"""The list of what a graph may contain, and the function that checks a graph against it.

The exporter calls `check_graph` before it writes a file, the runtime before any engine library
sees one: creating an engine session already executes parts of the graph (constant folding).
"""

from collections.abc import Sequence
from math import prod
from typing import TYPE_CHECKING

from runtime.artifact.bounds import ITEM_BYTES, infer_shapes
from runtime.artifact.graphs import GraphSpec, TensorSpec
from runtime.artifact.size import Size
from runtime.errors import ArtifactError

if TYPE_CHECKING:
    import onnx

MAX_NODES = 20_000
MAX_BYTES = 2 << 30
MAX_ELEMENTS = 1 << 28
"""Bound on the values of any one tensor in a graph; on one row of those that have a batch axis."""
MAX_SHAPE_VALUES = 1 << 12
"""Bound on integer vectors: they hold shapes and indices, never pictures."""

MIN_OPSET, MAX_OPSET = 18, 24

# Feed-forward image networks need no control flow, no random numbers (noise is an input), no
# sequences, strings or optionals, and no operators outside the standard ONNX domain.
_OPS = """
    Abs Add And AveragePool BatchNormalization Cast CastLike Ceil Celu Clip Concat Constant
    ConstantOfShape Conv ConvTranspose CumSum DepthToSpace DequantizeLinear Div Einsum Elu Equal
    Erf Exp Expand Flatten Floor Gather GatherElements GatherND Gelu Gemm GlobalAveragePool
    GlobalMaxPool Greater GreaterOrEqual GroupNormalization HardSigmoid HardSwish Identity
    InstanceNormalization LayerNormalization LeakyRelu Less LessOrEqual Log LogSoftmax MatMul
    Max MaxPool Mean Min Mish Mod Mul Neg Not OneHot Or PRelu Pad Pow QuantizeLinear
    Reciprocal ReduceL2 ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare Relu
    Reshape Resize Round RMSNormalization Selu Shape Sigmoid Sign Size Slice Softmax Softplus
    Softsign SpaceToDepth Split Sqrt Squeeze Sub Sum Swish Tanh Tile Transpose Unsqueeze Where
"""
ALLOWED_OPS = frozenset(_OPS.split())

# The batch at which sizes are checked: no other axis is likely to have this length.
_BATCH = 3

_DTYPES = {1: "float32", 2: "uint8", 7: "int64"}


def check_graph(data: bytes, spec: GraphSpec, sizes: Sequence[Size] = ((),)) -> "onnx.ModelProto":
    """Parse `data` as the ONNX file that `spec` describes, or raise ArtifactError.

    Checked: size, opset, standard domain only, allowed operators, no subgraphs, no local
    functions, no data outside the file, valid by ONNX's own checker, static tensor sizes within
    bounds at each of `sizes`, and inputs and outputs exactly as `spec` says, with a free batch axis
    and, where `spec` names axes, free axes there.
    """
    import onnx
    from google.protobuf.message import DecodeError

    if len(data) >= MAX_BYTES:
        raise ArtifactError(spec.file, f"expected under {MAX_BYTES} bytes, found {len(data)}")
    try:
        model = onnx.load_model_from_string(data)
    except DecodeError as error:
        raise ArtifactError(spec.file, f"expected an ONNX model, found: {error}") from error
    _check_header(model, spec.file)
    _check_nodes(model, spec.file)
    _check_signature(model.graph, spec)
    try:
        onnx.checker.check_model(model)  # pyright: ignore[reportUnknownMemberType]
        for size in dict.fromkeys(sizes):
            _check_sizes(model, spec, size)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError, ValueError) as error:
        raise ArtifactError(spec.file, f"not a valid ONNX graph: {error}") from error
    return model


def _check_header(model: "onnx.ModelProto", file: str) -> None:
    opsets = {entry.domain or "ai.onnx": entry.version for entry in model.opset_import}
    version = opsets.pop("ai.onnx", 0)
    if not MIN_OPSET <= version <= MAX_OPSET:
        raise ArtifactError(file, f"expected opset {MIN_OPSET} to {MAX_OPSET}, found {version}")
    if model.functions:
        raise ArtifactError(file, "expected no local functions, found some")
    if len(model.graph.node) > MAX_NODES:
        raise ArtifactError(
            file, f"expected at most {MAX_NODES} nodes, found {len(model.graph.node)}"
        )
    if model.graph.sparse_initializer or model.training_info:
        raise ArtifactError(file, "expected neither sparse initializers nor training information")


def _check_nodes(model: "onnx.ModelProto", file: str) -> None:
    import onnx

    kinds = onnx.AttributeProto
    plain = (kinds.FLOAT, kinds.INT, kinds.STRING, kinds.TENSOR, kinds.FLOATS, kinds.INTS)
    for node in model.graph.node:
        if node.domain not in ("", "ai.onnx") or node.op_type not in ALLOWED_OPS:
            kind = f"{node.domain}::{node.op_type}" if node.domain else node.op_type
            raise ArtifactError(file, f"operator {kind} is not among those an artifact may use")
        for attribute in node.attribute:
            if attribute.type not in plain:
                kind = onnx.AttributeProto.AttributeType.Name(attribute.type).lower()
                raise ArtifactError(
                    file, f"operator {node.op_type} carries a {kind} in its {attribute.name!r}"
                )
            if attribute.type == onnx.AttributeProto.TENSOR:
                _check_tensor(attribute.t, file)
    for tensor in model.graph.initializer:
        _check_tensor(tensor, file)


def _check_tensor(tensor: "onnx.TensorProto", file: str) -> None:
    import onnx

    if tensor.data_location == onnx.TensorProto.EXTERNAL or tensor.external_data:
        raise ArtifactError(
            file, f"tensor {tensor.name!r} keeps its data outside the file; expected one file"
        )
    if any(dim < 0 for dim in tensor.dims):
        raise ArtifactError(file, f"tensor {tensor.name!r} has a negative dimension")
    _check_elements(file, tensor.name, list(tensor.dims))
    item = ITEM_BYTES.get(tensor.data_type)
    if item is None:
        raise ArtifactError(
            file,
            f"tensor {tensor.name!r} is of element type {tensor.data_type}, which no artifact uses",
        )
    # Bytes, or numbers in one of these fields (small types among the 32-bit integers).
    numbers = (tensor.float_data, tensor.int32_data, tensor.int64_data, tensor.double_data)
    found = len(tensor.raw_data) / item if tensor.raw_data else sum(map(len, numbers))
    if found != prod(tensor.dims):
        raise ArtifactError(
            file,
            f"tensor {tensor.name!r} holds {found:g} values, its shape says {list(tensor.dims)}",
        )


def _check_elements(file: str, name: str, dims: list[int], limit: int = MAX_ELEMENTS) -> None:
    if prod(dims) > limit:
        raise ArtifactError(file, f"tensor {name!r} has shape {dims}, more than {limit} values")


def _check_sizes(model: "onnx.ModelProto", spec: GraphSpec, size: Size) -> None:
    """Every tensor's size at one batch, by ONNX's shape inference, before anything is run."""
    import onnx

    # First without following values: a chain of Concat could make a short graph's shapes huge.
    for follow_values in (False, True):
        graph = infer_shapes(model, spec, _BATCH, size, follow_values=follow_values)
        tensors = {value.name: value for value in (*graph.value_info, *graph.output)}
        for value in tensors.values():
            kind = value.type.tensor_type
            known = [dim.dim_value for dim in kind.shape.dim if dim.HasField("dim_value")]
            # Large images run in smaller batches: the bound is on what one row needs.
            row = known[1:] if known[:1] == [_BATCH] else known
            _check_elements(spec.file, value.name, row)
            if kind.elem_type == onnx.TensorProto.INT64 and len(kind.shape.dim) == 1:
                _check_elements(spec.file, value.name, known, MAX_SHAPE_VALUES)
    for node in graph.node:
        for name in filter(None, node.output):
            shape = tensors[name].type.tensor_type.shape if name in tensors else None
            if shape is None or not all(dim.HasField("dim_value") for dim in shape.dim):
                raise ArtifactError(
                    spec.file, f"the size of {name!r} ({node.op_type}) is unknown before it is run"
                )
    for value, tensor in zip(graph.output, spec.outputs, strict=True):
        found = tuple(dim.dim_value for dim in value.type.tensor_type.shape.dim)
        if found[:1] != (_BATCH,):
            raise ArtifactError(
                spec.file, f"output {value.name!r} does not have one row for each row of the batch"
            )
        if found[1:] != tensor.at(size):
            raise ArtifactError(
                spec.file,
                f"output {value.name!r}: expected {list(tensor.at(size))} at {dict(size)}, "
                f"found {list(found[1:])}",
            )


def _check_signature(graph: "onnx.GraphProto", spec: GraphSpec) -> None:
    constants = {tensor.name for tensor in graph.initializer}
    inputs = [value for value in graph.input if value.name not in constants]
    for side, values, expected in (
        ("input", inputs, spec.inputs),
        ("output", list(graph.output), spec.outputs),
    ):
        names = [value.name for value in values]
        if names != [tensor.name for tensor in expected]:
            raise ArtifactError(
                spec.file, f"expected {side}s {[t.name for t in expected]}, found {names}"
            )
        for value, tensor in zip(values, expected, strict=True):
            _check_tensor_type(value, tensor, spec.file)


def _check_tensor_type(value: "onnx.ValueInfoProto", expected: TensorSpec, file: str) -> None:
    kind = value.type.tensor_type
    dtype = _DTYPES.get(kind.elem_type, f"element type {kind.elem_type}")
    dims = [dim.dim_value or dim.dim_param or "?" for dim in kind.shape.dim]
    free_batch = bool(dims) and isinstance(dims[0], str)
    fits = len(dims) == 1 + len(expected.shape) and all(
        isinstance(dim, str) if isinstance(wanted, str) else dim == wanted
        for dim, wanted in zip(dims[1:], expected.shape, strict=True)
    )
    if dtype != expected.dtype or not free_batch or not fits:
        raise ArtifactError(
            file,
            f"{value.name} is {dtype} {dims}, expected {expected.dtype} "
            f"{['batch', *expected.shape]} with a free batch axis",
        )
