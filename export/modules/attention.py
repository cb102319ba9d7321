"""Attention over all positions of a large picture, of which only a part is in memory at a time.

Each of L positions looks at all others: their L x L weights are 1 GiB for the 128 x 128 latents of
a picture of 1024 x 1024. They are independent for each query, so the graph makes them for a part of
the queries after another.
"""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from onnxscript import opset20
from torch import Tensor

_PARTS = 16

op: Any = opset20  # its types are those of arrays, not of the values that are traced here


@torch.library.custom_op("latentserve::attention", mutates_args=())
def attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """softmax(q k^T / sqrt(d)) v of [B, heads, L, d] each (Vaswani et al. 2017, equation 1)."""
    return F.scaled_dot_product_attention(q, k, v).contiguous()


@attention.register_fake
def _(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return torch.empty_like(q, memory_format=torch.contiguous_format)


def _in_parts(q: Any, k: Any, v: Any) -> Any:
    """The same in ONNX, from query i L / n to (i + 1) L / n for each part i of n."""
    root = op.Pow(
        op.CastLike(op.Shape(q, start=3, end=4), q), -0.25
    )  # of both factors: no overflow
    scaled, keys = op.Mul(q, root), op.Transpose(op.Mul(k, root), perm=[0, 1, 3, 2])
    length, axis = op.Shape(q, start=2, end=3), op.Constant(value_ints=[2])
    parts = op.Constant(value_ints=[_PARTS])
    ends = [
        op.Div(op.Mul(length, op.Constant(value_ints=[part])), parts) for part in range(_PARTS + 1)
    ]
    made = [
        op.MatMul(op.Softmax(op.MatMul(op.Slice(scaled, start, end, axis), keys), axis=-1), v)
        for start, end in pairwise(ends)
    ]
    return op.Concat(*made, axis=2)


TRANSLATIONS: dict[Callable[..., Any], Callable[..., Any]] = {
    torch.ops.latentserve.attention.default: _in_parts
}
"""For torch's ONNX exporter."""
