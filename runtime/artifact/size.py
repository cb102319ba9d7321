"""Named axes: sizes that a request chooses, and tensor shapes that follow from them.

A dimension of a tensor is a number, or an expression of one named axis: `height`, `height / 8`,
`4 * height`.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import cast

Dim = int | str
Size = tuple[tuple[str, int], ...]
"""The chosen value of every named axis, in the manifest's order; empty where all axes are fixed."""

SIZE_AXES = ("height", "width")
"""The named axes that a request's `size` gives, in its order; images are cut into tiles along
these."""

_DIM = re.compile(r"(?:([1-9][0-9]{0,3}) \* )?([a-z][a-z_]{0,31})(?: / ([1-9][0-9]{0,3}))?")


def parse(dim: str) -> tuple[int, str, int]:
    """`4 * height / 2` -> (4, "height", 2); ValueError for anything else."""
    match = _DIM.fullmatch(dim)
    if match is None:
        raise ValueError(f"expected an axis such as 'height', 'height / 8', found {dim!r}")
    factor, axis, divisor = match.groups()
    return int(factor or 1), axis, int(divisor or 1)


def evaluate(shape: Iterable[Dim], size: Size) -> tuple[int, ...]:
    """The shape at a size, all numbers. The axes' `multiple_of` makes divisions exact."""
    if not size:  # nothing but numbers: the usual case, asked for by every request
        return cast(tuple[int, ...], tuple(shape))
    values = dict(size)
    result: list[int] = []
    for dim in shape:
        if isinstance(dim, str):
            factor, axis, divisor = parse(dim)
            dim = factor * values[axis] // divisor
        result.append(dim)
    return tuple(result)


def solve(shape: Sequence[Dim], found: Sequence[int]) -> dict[str, int] | None:
    """The axes' values that make `shape` the shape that was found; None where none do."""
    values: dict[str, int] = {}
    if len(shape) != len(found):
        return None
    for dim, length in zip(shape, found, strict=True):
        if isinstance(dim, int):
            if dim != length:
                return None
            continue
        factor, axis, divisor = parse(dim)
        value, rest = divmod(length * divisor, factor)
        if rest or values.setdefault(axis, value) != value:
            return None
    return values


def axes_of(shape: Iterable[Dim]) -> Mapping[str, int]:
    """The named axes of a shape, each with the divisor that its values must be multiples of."""
    parsed = [parse(dim) for dim in shape if isinstance(dim, str)]
    return {axis: divisor for _, axis, divisor in parsed}
