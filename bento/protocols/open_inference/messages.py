"""Requests and replies of the Open Inference Protocol: JSON, with tensors in it or behind it.

Behind it they are raw bytes in C order (the protocol's binary data extension).
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from bento.exchange.replies import to_json
from bento.exchange.schemas import Numbers
from bento.protocols.open_inference.signatures import DTYPES, Datatype, Tensor, Tensors
from runtime import InputError

_CHARACTERS: Mapping[Datatype, int] = {"FP32": 25, "INT64": 21, "UINT8": 4}
"""What a value and its comma take in JSON, at most."""

_Length = Annotated[int, Field(ge=0, le=1 << 31)]
_Name = Annotated[str, Field(max_length=200)]


class _Closed(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class InputParameters(_Closed):
    """Where an input's values are."""

    binary_data_size: _Length | None = Field(
        default=None, description="So many bytes behind the JSON, after those of earlier inputs."
    )


class InferInput(_Closed):
    """A tensor that is given: its values in `data`, or behind the JSON."""

    name: _Name = Field(description="As the model's description has it.")
    shape: list[_Length] = Field(max_length=8, description="The first axis counts images.")
    datatype: Datatype = Field(description="As the model's description has it.")
    parameters: InputParameters = InputParameters()
    data: Numbers | None = Field(default=None, description="Nested or flat.")


class OutputParameters(_Closed):
    """Where an output's values are wanted."""

    binary_data: bool | None = Field(
        default=None, description="Behind the JSON; without it as `binary_data_output` says."
    )


class InferOutput(_Closed):
    """A tensor that is wanted."""

    name: _Name = Field(description="As the model's description has it.")
    parameters: OutputParameters = OutputParameters()


class RequestParameters(_Closed):
    """What holds for the whole request."""

    binary_data_output: bool = Field(
        default=False, description="Outputs stand behind the JSON of the reply."
    )


class InferRequest(_Closed):
    """Tensors for a graph, or for `sample`."""

    id: str | None = Field(default=None, max_length=200, description="Repeated in the reply.")
    inputs: list[InferInput] = Field(
        max_length=64, description="Each tensor once; those that may be left out have defaults."
    )
    outputs: list[InferOutput] = Field(
        default=[], max_length=64, description="Those that are wanted; all without."
    )
    parameters: RequestParameters = RequestParameters()


def given_tensors(
    inputs: Sequence[InferInput], known: Sequence[Tensor], behind: memoryview
) -> dict[str, NDArray[Any]]:
    """The inputs by name. Those in `behind`, the bytes after the JSON, are views of it, which may
    not be aligned. InputError names the tensor that is not among those known, that is missing, or
    whose type, shape or number of bytes is wrong."""
    tensors = {tensor.name: tensor for tensor in known}
    found: dict[str, NDArray[Any]] = {}
    used = 0
    for i, each in enumerate(inputs):
        if each.name not in tensors or each.name in found:
            expected = f"one of {list(tensors)}, each once"
            raise InputError(f"inputs[{i}]", expected, repr(each.name))
        _check_form(each, tensors[each.name])
        size = each.parameters.binary_data_size
        if size is not None and each.data is None:
            found[each.name] = _from_bytes(each, behind[used : used + size], size)
            used += size
        elif size is None and each.data is not None:
            found[each.name] = _from_json(each, each.data)
        else:
            what = "neither" if size is None else "both"
            raise InputError(each.name, "either data or binary_data_size", what)
    if used != len(behind):
        expected = f"{used} bytes behind the JSON, as the inputs say"
        raise InputError("body", expected, str(len(behind)))
    for tensor in known:
        if tensor.needed and tensor.name not in found:
            expected = f"an input of {tensor.datatype} {list(tensor.shape)}"
            raise InputError(tensor.name, expected, "none")
    return found


def _check_form(each: InferInput, known: Tensor) -> None:
    pairs = zip(each.shape, known.shape, strict=False)
    fits = len(each.shape) == len(known.shape) and all(b in (a, -1) for a, b in pairs)
    if each.datatype != known.datatype or not fits:
        expected = f"{known.datatype} {list(known.shape)}"
        raise InputError(each.name, expected, f"{each.datatype} {each.shape}")


def _from_bytes(each: InferInput, part: memoryview, size: int) -> NDArray[Any]:
    dtype = DTYPES[each.datatype]
    expected = math.prod(each.shape) * dtype.itemsize
    if not size == expected == len(part):
        found = f"{len(part)} in the body" if size == expected else f"binary_data_size {size}"
        raise InputError(each.name, f"{expected} bytes of {each.datatype} {each.shape}", found)
    return np.frombuffer(part, dtype).reshape(each.shape)


def _from_json(each: InferInput, values: NDArray[np.float64]) -> NDArray[Any]:
    expected = math.prod(each.shape)
    if values.size != expected:
        raise InputError(each.name, f"{expected} values for {each.shape}", f"{values.size}")
    dtype = DTYPES[each.datatype]
    if dtype.kind != "f":
        limits = np.iinfo(dtype)
        # Above 2^53 a float is not every integer, and no seed or label is so large.
        most = min(limits.max, 2**53)
        whole = (values == np.rint(values)) & (values >= limits.min) & (values <= most)
        if not whole.all():
            raise InputError(each.name, f"integers of {each.datatype}", "others")
    with np.errstate(over="ignore"):  # an infinity is refused by the request
        return values.astype(dtype).reshape(each.shape)


def chosen_outputs(asked: InferRequest, known: Sequence[Tensor]) -> dict[str, bool]:
    """The outputs that are wanted, in their order, and whether as bytes."""
    default = asked.parameters.binary_data_output
    names = [tensor.name for tensor in known]
    if not asked.outputs:
        return dict.fromkeys(names, default)
    chosen: dict[str, bool] = {}
    for i, each in enumerate(asked.outputs):
        if each.name not in names or each.name in chosen:
            raise InputError(f"outputs[{i}]", f"one of {names}, each once", repr(each.name))
        binary = each.parameters.binary_data
        chosen[each.name] = default if binary is None else binary
    return chosen


def reply_bytes(
    tensors: Iterable[tuple[Tensor, tuple[int, ...]]], chosen: Mapping[str, bool], count: int
) -> int:
    """What so many rows, of such shapes, take in a reply, at most."""
    size = 0
    for tensor, shape in tensors:
        if tensor.name in chosen:
            binary, values = chosen[tensor.name], count * math.prod(shape)
            item = DTYPES[tensor.datatype].itemsize if binary else _CHARACTERS[tensor.datatype]
            size += values * item
    return size


def written(
    head: Mapping[str, Any], tensors: Sequence[Tensor], arrays: Tensors, chosen: Mapping[str, bool]
) -> tuple[bytes, list[NDArray[Any]]]:
    """The reply's JSON, and the arrays whose bytes follow it."""
    known = {tensor.name: tensor for tensor in tensors}
    outputs: list[bytes] = []
    behind: list[NDArray[Any]] = []
    for name, binary in chosen.items():
        datatype = known[name].datatype
        array = np.ascontiguousarray(arrays[name], DTYPES[datatype])
        entry: dict[str, Any] = {"name": name, "datatype": datatype, "shape": list(array.shape)}
        if binary:
            behind.append(array)
            outputs.append(to_json(entry | {"parameters": {"binary_data_size": array.nbytes}}))
        else:
            outputs.append(b'%b,"data":[%b]}' % (to_json(entry)[:-1], _values(array)))
    return b'%b,"outputs":[%b]}' % (to_json(head)[:-1], b",".join(outputs)), behind


def _values(array: NDArray[Any]) -> bytes:
    # Row by row: one call for all of it would hold up every other thread.
    return b",".join(to_json(row.ravel().tolist())[1:-1] for row in array)
