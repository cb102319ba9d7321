"""Arrays as raw bytes in C order, by the names that PyTorch gives their types."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from runtime import InputError

Dtype = Literal["float16", "float32", "bfloat16", "uint8"]
ITEM_BYTES: Mapping[Dtype, int] = {"float16": 2, "float32": 4, "bfloat16": 2, "uint8": 1}


def check_shape(shape: Sequence[int], dtype: Dtype, size: int) -> None:
    """InputError unless a body of so many bytes holds an array of this shape."""
    expected = math.prod(shape) * ITEM_BYTES[dtype]
    if expected != size:
        raise InputError("shape", f"that of the body, {size} bytes of {dtype}", str(list(shape)))


def read_tensor(content: bytes, shape: Sequence[int], dtype: Dtype) -> NDArray[Any]:
    """float32, or uint8, of a shape that `check_shape` has seen."""
    if dtype == "uint8":
        return np.frombuffer(content, np.uint8).reshape(shape)
    if dtype == "bfloat16":  # the upper half of a float32
        high = np.frombuffer(content, "<u2").reshape(shape)
        return (high.astype(np.uint32) << 16).view(np.float32)
    stored = np.dtype("<f2" if dtype == "float16" else "<f4")
    return np.frombuffer(content, stored).reshape(shape).astype(np.float32, copy=False)


def write_tensor(array: NDArray[Any], dtype: Dtype) -> bytes:
    """The bytes of finite floats, or of uint8, rounded to the nearest, half to even."""
    if dtype == "bfloat16":
        bits = np.ascontiguousarray(array, "<f4").view(np.uint32)
        return ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype("<u2").tobytes()
    stored = {"uint8": "|u1", "float16": "<f2", "float32": "<f4"}[dtype]
    return array.astype(stored, copy=False).tobytes()
