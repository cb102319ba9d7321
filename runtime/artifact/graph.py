"""The list of what a graph may contain, and the function that checks a graph against it.

The exporter calls `check_graph` before it writes a file, the runtime before any engine library
sees one: creating an engine session already executes parts of the graph (constant folding).
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import prod
from typing import TYPE_CHECKING

from runtime.artifact.bounds import Cost, constant_cost, cost_of
from runtime.artifact.shapes import ITEM_BYTES, Structure, Tensor
from runtime.artifact.size import Size
from runtime.artifact.tensors import GraphSpec, TensorSpec
from runtime.errors import ArtifactError

if TYPE_CHECKING:
    import onnx

MAX_NODES = 20_000
MAX_BYTES = 2 << 30
MAX_ELEMENTS = 1 << 28
"""Bound on the values of any one tensor in a graph; on one row of those that have a batch axis."""
MAX_RUN = Cost(bytes=8 << 30, multiply_adds=10**13, values=2 * 10**11)
"""Bounds on a run of one row. The decoder of Stable Diffusion's AutoencoderKL takes 5 * 10^12
multiply-adds, 4 GiB and reads or writes 10^10 values for an image of 1024 x 1024. How much a
machine can bear, it says itself (`Limits.memory`)."""
MAX_CONSTANTS = Cost(bytes=512 << 20, multiply_adds=10**11, values=10**10)
"""Bounds on the constants that a graph computes from others, all together: engines compute them
when they load it. Beside these bytes as many as its own constants have: a transposed copy of every
weight is usual."""

MIN_OPSET, MAX_OPSET = 18, 24

# Feed-forward image networks need no control flow, no random numbers (noise is an input), no
# sequences, strings or optionals, and no operators outside the standard ONNX domain. The size of
# an output must follow from sizes: not NonZero, Unique or Compress.
_OPS = """
    Abs Acos Acosh Add AffineGrid And ArgMax ArgMin Asin Asinh Atan Atanh AveragePool
    BatchNormalization BitwiseAnd BitwiseNot BitwiseOr BitwiseXor Cast CastLike Ceil Celu Clip
    Col2Im Concat Constant ConstantOfShape Conv ConvTranspose Cos Cosh CumSum DepthToSpace
    DequantizeLinear Div Einsum Elu Equal Erf Exp Expand EyeLike Flatten Floor Gather
    GatherElements GatherND Gelu Gemm GlobalAveragePool GlobalLpPool GlobalMaxPool Greater
    GreaterOrEqual GridSample GroupNormalization HardSigmoid HardSwish Identity
    InstanceNormalization IsInf IsNaN LRN LayerNormalization LeakyRelu Less LessOrEqual Log
    LogSoftmax LpNormalization LpPool MatMul Max MaxPool Mean Min Mish Mod Mul Neg Not OneHot Or
    PRelu Pad Pow QuantizeLinear RMSNormalization Range Reciprocal ReduceL1 ReduceL2
    ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum
    ReduceSumSquare Relu Reshape Resize Round ScatterElements ScatterND Selu Shape Shrink
    Sigmoid Sign Sin Sinh Size Slice Softmax Softplus Softsign SpaceToDepth Split Sqrt Squeeze
    Sub Sum Swish Tan Tanh ThresholdedRelu Tile TopK Transpose Trilu Unsqueeze Where Xor
"""
ALLOWED_OPS = frozenset(_OPS.split())

# The batch at which sizes are checked: no other axis is likely to have this length.
_BATCH = 3
# A larger one, to see how tensors grow; an artifact's own largest is looked at too.
_MANY = 61

_DTYPES = {1: "float32", 2: "uint8", 7: "int64"}


def check_graph(
    data: bytes, spec: GraphSpec, sizes: Sequence[Size] = ((),), rows: int = _MANY
) -> "onnx.ModelProto":
    """Parse `data` as the ONNX file that `spec` describes, or raise ArtifactError.

    Checked: size, opset, standard domain only, allowed operators, no subgraphs, no local
    functions, no data outside the file, valid by ONNX's own checker, sizes that are known before it
    is run, what it costs at each of `sizes` (MAX_RUN, MAX_CONSTANTS), that nothing grows faster
    than the batch, up to `rows`, and inputs and outputs exactly as `spec` says, with a free batch
    axis and, where `spec` names axes, free axes there.
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
        structure = Structure(model)
        for size in dict.fromkeys(sizes):
            _check_sizes(structure, spec, size, rows)
    except onnx.checker.ValidationError as error:
        raise ArtifactError(spec.file, f"not a valid ONNX graph: {error}") from error
    except ValueError as error:
        raise ArtifactError(spec.file, str(error)) from error
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


def _check_elements(file: str, name: str, dims: Sequence[int]) -> None:
    if prod(dims) > MAX_ELEMENTS:
        raise ArtifactError(
            file, f"tensor {name!r} has shape {list(dims)}, more than {MAX_ELEMENTS} values"
        )


def _check_sizes(structure: Structure, spec: GraphSpec, size: Size, rows: int) -> None:
    """Every tensor's size, and what they cost together, before anything is run."""
    tensors = structure.tensors(spec, 1, size)
    for name, tensor in tensors.items():
        _check_elements(spec.file, name, tensor.shape)
    run, constants = (measure(structure, spec, tensors) for measure in (cost_of, constant_cost))
    own = sum(tensor.bytes for tensor in structure.constants.values())
    most = replace(MAX_CONSTANTS, bytes=MAX_CONSTANTS.bytes + own)
    _check_cost(spec.file, "the constants that the graph computes", constants, most)
    _check_cost(spec.file, f"one row{_at(size)}", run, MAX_RUN)
    few = structure.tensors(spec, _BATCH, size)
    for name, tensor in zip(structure.outputs, spec.outputs, strict=True):
        found = few[name].shape
        if found[:1] != (_BATCH,):
            raise ArtifactError(
                spec.file, f"output {name!r} does not have one row for each row of the batch"
            )
        if found[1:] != tensor.at(size):
            raise ArtifactError(
                spec.file,
                f"output {name!r}: expected {list(tensor.at(size))}{_at(size)}, "
                f"found {list(found[1:])}",
            )
    for many in sorted({_MANY, rows}):
        _check_growth(spec.file, tensors, few, structure.tensors(spec, many, size), many)


def _check_cost(file: str, what: str, found: Cost, most: Cost) -> None:
    for unit in ("bytes", "multiply_adds", "values"):
        amount, limit = getattr(found, unit), getattr(most, unit)
        if amount > limit:
            raise ArtifactError(
                file, f"{what}: expected at most {limit} {unit.replace('_', '-')}, found {amount}"
            )


def _check_growth(
    file: str,
    one: Mapping[str, Tensor],
    few: Mapping[str, Tensor],
    many: Mapping[str, Tensor],
    rows: int,
) -> None:
    """Values grow at most linearly with rows: the sizes of batches rely on it."""
    for name, tensor in one.items():
        each = max(0, few[name].values - tensor.values) / (_BATCH - 1)
        if many[name].values > tensor.values + each * (rows - 1):
            raise ArtifactError(
                file,
                f"tensor {name!r} grows faster than the batch: {list(tensor.shape)} for 1 row, "
                f"{list(few[name].shape)} for {_BATCH}, {list(many[name].shape)} for {rows}",
            )


def _at(size: Size) -> str:
    return f" at {dict(size)}" if size else ""


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
