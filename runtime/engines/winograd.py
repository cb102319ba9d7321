"""Convolutions of many channels by Winograd's minimal filtering, in standard ONNX operators.

F(4x4, 3x3): a tile of 4 x 4 output pixels comes from 6 x 6 input pixels d by 36 products instead
of 144, for each pair of an input and an output channel:

out = A^T [(G w G^T) * (B^T d B)] A

Lavin and Gray 2016, "Fast algorithms for convolutional neural networks", arXiv:1509.09308. The
products of one of the 36 places, summed over the channels, are a matrix product: [out, in] times
[in, tiles]. Here B^T d B is a convolution with stride 4 that takes channels for images, and
A^T m A a transposed convolution whose tiles do not overlap.

A layer that doubles an image is four convolutions of 3 x 3, one for each parity of row and column,
with zeros where a parity has no tap. So at 11 of the 36 places the kernel is zero, which leaves 25
products.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from runtime.engines.editing import Graph, Known, Shapes, doubled_taps, doubling, has, weights_of
from runtime.engines.winograd_layer import TILE, Layer

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

# The polynomials are interpolated at 0, 1, -1, 2, -2 and infinity.
_INPUT = np.array(
    [
        [4, 0, -5, 0, 1, 0],
        [0, -4, -4, 1, 1, 0],
        [0, 4, -4, -1, 1, 0],
        [0, -2, -1, 2, 1, 0],
        [0, 2, -1, -2, 1, 0],
        [0, 4, 0, -5, 0, 1],
    ],
    np.float64,
)
"""B^T."""
_KERNEL = (
    np.array([[6, 0, 0], [-4, -4, -4], [-4, 4, -4], [1, 2, 4], [1, -2, 4], [0, 0, 24]], np.float64)
    / 24
)
"""G."""
_OUTPUT = np.array(
    [[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]],
    np.float64,
)
"""A^T."""

# A layer by this estimate, in multiplications of a direct convolution: what a tile costs beside the
# products for each channel that goes in and comes out; and each product, dearer where few columns
# share the reading of the kernels. Measured on AVX2 and AVX-512, which agree.
_INPUT_COST, _OUTPUT_COST = 5000, 2400
_PRODUCT_COST, _READING_COST = 1.25, 40
_GAIN = 1.1
"""A layer must be so much faster by this estimate to be replaced."""
_COLUMNS = 256
"""Tiles of one product: more than these do not make it faster, and take memory."""
_RUN_COLUMNS, _RUN_IMAGES = 512, 64
"""Tiles of the largest layer, and images, that one run has at most."""
_MAX_BYTES = 1 << 30
"""Of kernels in one graph: an ONNX file holds 2 GiB."""


def winograd(graph: Graph, node: "NodeProto") -> "list[NodeProto]":
    """A 3x3 convolution, or a layer that doubles an image, where this is estimated to be faster."""
    found = _found(graph, node)
    if found is None:
        return []
    smallest, usual = graph.measured_sizes(found.source)
    columns = graph.known.images * _tiles(usual)
    layer_bytes = 4 * found.places * found.out * found.into
    if found.gain(usual, columns) < _GAIN or graph.added_bytes + layer_bytes > _MAX_BYTES:
        return []
    strips = max(1, min(-(-smallest[0] // TILE), round(columns / _COLUMNS)))
    layer = _layer(graph, found)
    return layer.write(found.source, graph.sizes(found.source), strips, found.bias)


def known_of(model: "ModelProto", smallest: Shapes, usual: Shapes) -> Known:
    """The shapes, and how many images runs should have: with too many, large layers leave the
    processor's caches; with too few, small ones read their kernels for few products."""
    graph = Graph(model, Known(_RUN_IMAGES, smallest=smallest, usual=usual))
    found = [layer for node in model.graph.node if (layer := _found(graph, node))]
    layers = [(layer, graph.measured_sizes(layer.source)[1]) for layer in found]
    tiles = [_tiles(size) for layer, size in layers if layer.gain(size, _RUN_COLUMNS) >= _GAIN]
    images = max(1, min(_RUN_IMAGES, _RUN_COLUMNS // max(tiles, default=1)))

    def pays(rows: int) -> bool:
        taken = [
            each for each in layers if each[0].gain(each[1], images * _tiles(each[1])) >= _GAIN
        ]
        direct = sum(layer.direct(size) for layer, size in taken)
        # Where no layer is taken, runs of any length are the same.
        return direct >= sum(layer.cost(size, rows * _tiles(size)) for layer, size in taken)

    fewest = next((rows for rows in range(1, images) if pays(rows)), images)
    return replace(graph.known, images=images, fewest=fewest)


@dataclass(frozen=True)
class _Found:
    """A layer that can be replaced: a 3x3 convolution, or what doubles an image."""

    source: str
    kernel: NDArray[np.float32]
    """[out, in, 3, 3]; of a transposed convolution [in, out, 4, 4]."""
    bias: list[NDArray[np.float32]]
    kind: Literal["plain", "doubled", "transposed"]

    @property
    def out(self) -> int:
        return self.kernel.shape[1 if self.kind == "transposed" else 0]

    @property
    def into(self) -> int:
        return self.kernel.shape[0 if self.kind == "transposed" else 1]

    @property
    def places(self) -> int:
        """Products of a tile, for each pair of channels."""
        return 36 if self.kind == "plain" else 4 * 25

    def kernels(self) -> NDArray[np.float64]:
        """One row for each tap, [9 or 16, out * in]."""
        kernel = self.kernel.astype(np.float64)
        if self.kind != "plain":
            kernel = (doubled_taps(self.kernel) if self.kind == "doubled" else kernel).swapaxes(
                0, 1
            )
        return kernel.reshape(self.out * self.into, -1).T

    @property
    def scale(self) -> int:
        """Pixels that come out for each that goes in."""
        return 1 if self.kind == "plain" else 4

    def direct(self, size: Sequence[int]) -> float:
        """Multiplications of the layer as it is; `size` has 0 for what is unknown."""
        pixels = math.prod(side for side in size if side)
        return pixels * self.out * self.into * (9 if self.kind == "plain" else 16)

    def cost(self, size: Sequence[int], columns: int) -> float:
        """What the layer costs as Winograd's products, as multiplications of a direct one."""
        reading = max(_PRODUCT_COST, _READING_COST / max(1, columns))
        products = reading * self.places * self.out * self.into
        # The transform of a doubled image has more outputs from the same pixels.
        inputs = _INPUT_COST * self.into * (1 if self.kind == "plain" else 1.5)
        return _tiles(size) * (products + inputs + _OUTPUT_COST * self.out * self.scale)

    def gain(self, size: Sequence[int], columns: int) -> float:
        """How much faster the layer is estimated to become."""
        # Where nothing is known of the size, it is taken for whole tiles.
        sides = [side or TILE for side in size]
        return self.direct(sides) / self.cost(sides, columns)


def _found(graph: Graph, node: "NodeProto") -> _Found | None:
    weights = weights_of(graph, node, "Conv")
    if weights and has(node, weights[0], square=3, pads=1):
        resize = doubling(graph, node)
        if resize is None:
            return _Found(node.input[0], weights[0], weights[1:], "plain")
        return _Found(resize.input[0], weights[0], weights[1:], "doubled")
    weights = weights_of(graph, node, "ConvTranspose")
    if weights and has(node, weights[0], square=4, strides=2, pads=1):
        return _Found(node.input[0], weights[0], weights[1:], "transposed")
    return None


def _tiles(size: Sequence[int]) -> int:
    return math.prod(-(-side // TILE) for side in size if side)


def _layer(graph: Graph, found: _Found) -> Layer:
    transform = np.kron(_KERNEL, _KERNEL)[None]  # [parities, places, taps]
    used = np.full((1, 36), True)
    if found.kind != "plain":
        transform = transform @ _TAPS
        # Without its last tap a kernel is zero at infinity, without its first one at 0.
        used = np.any(transform, 2)
    inputs, outputs = np.kron(_INPUT, _INPUT), np.kron(_OUTPUT, _OUTPUT).T
    kernels = found.kernels()
    weights = [one[there] @ kernels for one, there in zip(transform, used, strict=True)]
    return Layer(
        graph,
        np.concatenate([inputs[there] for there in used]).reshape(-1, 6, 6),
        np.concatenate(weights).reshape(-1, found.out, found.into),
        np.concatenate([outputs[there] for there in used]).reshape(-1, TILE, TILE),
        len(transform),
    )


def _parities() -> NDArray[np.floating[Any]]:
    """The taps of the four kernels of 3 x 3 that are a transposed convolution of 4 x 4, stride 2,
    pads 1, among its own: [parities, 9, 16].

    out[2i] = w[3] x[i-1] + w[1] x[i],  out[2i + 1] = w[2] x[i] + w[0] x[i+1]
    """
    taps = np.zeros((2, 3, 4))  # [parity, tap of 3, tap of 4]
    taps[0, 0, 3] = taps[0, 1, 1] = taps[1, 1, 2] = taps[1, 2, 0] = 1
    return np.array([np.kron(rows, columns) for rows in taps for columns in taps])


_TAPS = _parities()
