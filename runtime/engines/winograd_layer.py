"""The nodes of one layer in Winograd's form (`runtime.engines.winograd` has the equations)."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from runtime.engines.editing import Graph

if TYPE_CHECKING:
    from onnx import NodeProto

TILE = 4
"""Side of an output tile."""

_Dim = int | str
"""A size that is known, or the tensor of one int64 that holds it when the graph is run."""

_ARITHMETIC: dict[str, Callable[[int, int], int]] = {
    "Add": int.__add__,
    "Sub": int.__sub__,
    "Mul": int.__mul__,
    "Div": int.__floordiv__,
}


class Layer:
    """Writes one layer. Channels come first, then the images, so that the columns of a product are
    the tiles of all images; of a large layer it is the tiles of one strip of the image, whose
    memory the next strip takes over.

    `inputs` [places, 6, 6] and `outputs` [places, 4, 4] are the transforms of each place,
    `weights` [places, out, in] the transformed kernels; the places of each of `parities` kernels
    follow one another.
    """

    def __init__(
        self,
        graph: Graph,
        inputs: NDArray[np.floating[Any]],
        weights: NDArray[np.floating[Any]],
        outputs: NDArray[np.floating[Any]],
        parities: int,
    ) -> None:
        self._graph = graph
        self._places, self._out, self._in = weights.shape
        self._parities = parities
        self._inputs = graph.add(inputs[:, None, None])
        self._weights = graph.add(weights)
        self._outputs = graph.add(_interleaved(outputs, parities))
        self._scale = 2 if parities == 4 else 1
        self.nodes: list[NodeProto] = []
        self._made: dict[tuple[str | _Dim, ...], str] = {}

    def write(
        self, source: str, size: Sequence[int], strips: int, bias: Sequence[NDArray[np.float32]]
    ) -> "list[NodeProto]":
        """The nodes from `source` [B, in, H, W] to [B, out, H, W], or twice its size. `size` has 0
        for what is not known; `strips` is at most the number of tiles one above another."""
        sides: list[_Dim] = [known or self._side(source, axis) for axis, known in enumerate(size)]
        height, width = sides
        down, right = self._tiles(height), self._tiles(width)
        swapped = self._node("Transpose", source, perm=[1, 0, 2, 3])
        edges = [self._scaled(down, part, strips) for part in range(strips + 1)]
        made = [self._strip(swapped, edges, part, height, width, right) for part in range(strips)]
        result = made[0] if strips == 1 else self._node("Concat", *made, axis=2)
        if not all(known and known % TILE == 0 for known in size):
            ends = self._shape(*(self._scaled(side, self._scale) for side in sides))
            result = self._node("Slice", result, self._shape(0, 0), ends, self._shape(2, 3))
        result = self._node("Transpose", result, perm=[1, 0, 2, 3])
        if bias:
            self._node("Add", result, self._graph.add(bias[0].reshape(1, -1, 1, 1)))
        return self.nodes

    def _strip(
        self,
        swapped: str,
        edges: Sequence[_Dim],
        part: int,
        height: _Dim,
        width: _Dim,
        right: _Dim,
    ) -> str:
        """The tiles from one edge to the next of [in, B, H, W] -> [out, B, rows, columns]."""
        first, last = part == 0, part == len(edges) - 2
        begin = 0 if first else self._computed("Sub", self._scaled(edges[part], TILE), 1)
        end = height if last else self._computed("Add", self._scaled(edges[part + 1], TILE), 1)
        rows = self._computed("Sub", edges[part + 1], edges[part])
        source = swapped
        if not (first and last):
            starts, axes = self._shape(begin), self._shape(2)
            source = self._node("Slice", source, starts, self._shape(end), axes)
        tall = self._computed("Sub", end, begin)
        images = self._node("Reshape", source, self._shape(1, 1, -1, tall, width))
        # One pixel before the image; behind it enough for the last tile.
        pads = [0, int(first), 1, 0, TILE * last, TILE]
        tiles = self._node(
            "Conv", images, self._inputs,
            kernel_shape=[1, 6, 6], strides=[1, TILE, TILE], pads=pads,
        )  # fmt: skip
        columns = self._node("Reshape", tiles, self._shape(self._places, self._in, -1))
        products = self._node("MatMul", self._weights, columns)
        return self._tiled(products, rows, right)

    def _tiled(self, products: str, rows: _Dim, right: _Dim) -> str:
        """Products [places, out, tiles] -> [out, B, rows, columns].

        A transposed convolution would do all of this, and take half as long again.
        """
        scale, wide = self._scale, TILE * self._scale
        places = self._node("Reshape", products, self._shape(scale, self._places // scale, -1))
        pixels = self._node(
            "MatMul", self._outputs, places
        )  # [parities of rows, rows * columns, …]
        lines = self._node("Reshape", pixels, self._shape(scale * TILE, wide, -1))
        lines = self._node("Transpose", lines, perm=[0, 2, 1])
        columns = self._scaled(right, wide)
        lines = self._node("Reshape", lines, self._shape(scale, TILE, -1, columns))
        image = self._node("Transpose", lines, perm=[2, 1, 0, 3])
        shape = self._shape(self._out, -1, self._scaled(rows, wide), columns)
        return self._node("Reshape", image, shape)

    def _node(self, op: str, *operands: str, **attributes: object) -> str:
        self.nodes.append(self._graph.node(op, operands, **attributes))
        return self.nodes[-1].output[0]

    def _shape(self, *dims: _Dim) -> str:
        """A one-dimensional tensor, made once."""
        if dims not in self._made:
            self._made[dims] = self._new_shape(*dims)
        return self._made[dims]

    def _new_shape(self, *dims: _Dim) -> str:
        if all(isinstance(dim, int) for dim in dims):
            return self._graph.add(np.array(dims, np.int64))
        return (
            self._node("Concat", *map(self._shape, dims), axis=0) if len(dims) > 1 else str(*dims)
        )

    def _side(self, source: str, axis: int) -> str:
        return self._node("Shape", source, start=2 + axis, end=3 + axis)

    def _tiles(self, side: _Dim) -> _Dim:
        """How many tiles cover a side."""
        return self._scaled(self._computed("Add", side, TILE - 1), 1, TILE)

    def _computed(self, op: str, dim: _Dim, other: _Dim) -> _Dim:
        if isinstance(dim, int) and isinstance(other, int):
            return _ARITHMETIC[op](dim, other)
        if (op, dim, other) not in self._made:
            self._made[op, dim, other] = self._node(op, self._shape(dim), self._shape(other))
        return self._made[op, dim, other]

    def _scaled(self, dim: _Dim, factor: int, divisor: int = 1) -> _Dim:
        """dim * factor / divisor, rounded down."""
        product = dim if factor == 1 else self._computed("Mul", dim, factor)
        return product if divisor == 1 else self._computed("Div", product, divisor)


def _interleaved(outputs: NDArray[np.floating[Any]], parities: int) -> NDArray[np.floating[Any]]:
    """Matrices from places to pixels: [1, 16, places]; or [2, 32, places / 2], one for each parity
    of rows, with the columns of both parities in turns."""
    if parities == 1:
        return outputs.reshape(1, -1, TILE * TILE).swapaxes(1, 2)
    places = len(outputs) // 4
    wide = np.zeros((2, TILE, TILE, 2, 2, places))
    for column in (0, 1):
        tiles = outputs.reshape(2, 2, places, TILE, TILE)[:, column]
        wide[:, :, :, column, column] = tiles.transpose(0, 2, 3, 1)
    return wide.reshape(2, 2 * TILE * TILE, 2 * places)
