"""Graph passes that leave what a graph computes the same and make it faster on some engines.

Which form of a graph is fastest depends on the engine, so an artifact holds the graph as it was
exported, and a backend rewrites it after it was verified. Equations are written for one axis of
the image; the other is alike. In them x is an input at low resolution, w a kernel.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from runtime.engines.editing import Graph, Known, doubled_taps, doubling, has, weights_of
from runtime.engines.winograd import winograd

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

Form = Literal["plain", "folded", "subpixel", "winograd"]
"""`plain`: as exported. `folded`: fewer multiplications on any engine. `subpixel`: moreover,
transposed convolutions as plain ones, for engines with slow transposed convolutions. `winograd`:
`folded`, and convolutions of many channels as Winograd's products; it suits runs of few images."""


REVISION = 2
"""Counts changes of what the passes make, for whoever remembers something about it."""

_FEW, _MANY = 4, 32
"""Channels that a convolution makes, and takes."""


def rewrite(model: "ModelProto", form: Form, known: Known | None = None) -> "ModelProto":
    """A copy of `model` in another form; a graph that no pass matches is copied as it is.

    `model` has passed `check_graph`: the passes rely on there being no subgraphs.
    Weights are combined in float64 and rounded once, so results differ by float32 rounding only.
    """
    graph = Graph(model, known)
    passes = [apply for step in (form, *_AFTER[form]) for apply in _PASSES[step]]
    nodes: list[NodeProto] = []
    for node in model.graph.node:
        replacement = next(filter(None, (apply(graph, node) for apply in passes)), None)
        if replacement:
            replacement[-1].output[0] = node.output[0]
            # Nodes further on see what is here now: Resize, Conv 1x1, Conv 3x3 becomes Conv 1x1,
            # Resize, Conv 3x3, and its end matches again.
            graph.producers[node.output[0]] = replacement[-1]
        nodes += replacement or [node]
    return graph.copy_with(nodes)


def forms(model: "ModelProto", known: Known | None = None) -> tuple[Form, ...]:
    """The forms in which `model` differs, in the order of `Form`; `plain` is always the first.

    A form is known by the first node that one of its passes matches, which makes this cheap.
    """
    graph = Graph(model, known)

    def differs(form: Form) -> bool:
        return any(apply(graph, node) for node in model.graph.node for apply in _PASSES[form])

    return ("plain", *filter(differs, _FORMS))


def _pixel_as_gemm(graph: Graph, node: "NodeProto") -> "list[NodeProto]":
    """A transposed convolution of a 1x1 image is a matrix product.

    out[b, o, y] = bias[o] + sum_i x[b, i, 0] w[i, o, y]
    """
    weights = weights_of(graph, node, "ConvTranspose")
    if not weights or not has(node, weights[0]) or graph.sizes(node.input[0]) != (1, 1):
        return []
    kernel, *bias = weights
    size = kernel[0, 0].size
    rows = graph.node("Flatten", node.input[:1], axis=1)
    operands = [kernel.reshape(len(kernel), -1), *(np.repeat(b, size) for b in bias)]
    product = graph.node("Gemm", [rows.output[0], *map(graph.add, operands)])
    shape = graph.add(np.array([0, *kernel.shape[1:]], np.int64))  # 0 keeps the batch
    return [rows, product, graph.node("Reshape", [product.output[0], shape])]


def _convolution_before_resize(graph: Graph, node: "NodeProto") -> "list[NodeProto]":
    """A 1x1 convolution of an image with doubled pixels, at a quarter of the cost.

    out[y] = w x[y // 2] = (w x)[y // 2]: it does not matter which comes first.
    """
    weights = weights_of(graph, node, "Conv")
    resize = doubling(graph, node)
    if not weights or resize is None or not has(node, weights[0], square=1):
        return []
    convolution = graph.node("Conv", [resize.input[0], *node.input[1:]])
    doubled = graph.node("Resize", [convolution.output[0], *resize.input[1:]])
    convolution.attribute.extend(node.attribute)
    doubled.attribute.extend(resize.attribute)
    return [convolution, doubled]


def _convolution_of_doubled(graph: Graph, node: "NodeProto") -> "list[NodeProto]":
    """A convolution of an image with doubled pixels sees each of its pixels more than once: with a
    3x3 kernel four multiplications for each output pixel are enough, not nine."""
    weights = weights_of(graph, node, "Conv")
    resize = doubling(graph, node)
    if not weights or resize is None:
        return []
    kernel, *bias = weights
    size = kernel.shape[-1]
    if size < 3 or size % 2 == 0 or not has(node, kernel, square=size, pads=size // 2):
        return []
    return _subpixel(graph, resize.input[0], doubled_taps(kernel), bias)


def _transposed_as_subpixel(graph: Graph, node: "NodeProto") -> "list[NodeProto]":
    """A transposed convolution that doubles an image: stride 2, an even kernel."""
    weights = weights_of(graph, node, "ConvTranspose")
    if not weights:
        return []
    kernel, *bias = weights
    size = kernel.shape[-1]
    if size % 2 or not has(node, kernel, square=size, strides=2, pads=size // 2 - 1):
        return []
    return _subpixel(graph, node.input[0], kernel.astype(np.float64), bias)


def _subpixel(
    graph: Graph, source: str, kernel: NDArray[np.float64], bias: list[NDArray[np.float32]]
) -> "list[NodeProto]":
    """A transposed convolution (stride 2, pads p = m - 1) as convolution, interleaving and crop.

    `kernel` is [in, out, 2m, 2m]. Output pixels of one parity meet the taps of one parity:

    out[2n + a - p] = sum_s w[2s + a] x[n - s],  a = 0, 1,  s = 0 ... m-1

    (with m = 2: out[2i] = w[1] x[i] + w[3] x[i-1], out[2i + 1] = w[0] x[i+1] + w[2] x[i]).
    For both parities that is a convolution at low resolution with m taps, of x padded by m - 1;
    interleaved, its outputs begin and end p pixels outside the image.
    Shi et al. 2016, "Is the deconvolution layer the same as a convolutional layer?",
    arXiv:1609.07009.
    """
    taps = kernel.shape[-1] // 2
    crop = taps - 1
    parities = [kernel[:, :, a::2, b::2] for a in (0, 1) for b in (0, 1)]
    stacked = np.concatenate(parities, axis=1).swapaxes(0, 1)[..., ::-1, ::-1]
    weights = [stacked, *(np.tile(b, 4) for b in bias)]
    convolution = graph.node(
        "Conv", [source, *map(graph.add, weights)], kernel_shape=[taps, taps], pads=[crop] * 4
    )
    pixels = graph.node("DepthToSpace", convolution.output, blocksize=2, mode="DCR")
    if crop == 0:
        return [convolution, pixels]
    bounds = np.array([[crop, crop], [-crop, -crop], [2, 3]], np.int64)  # starts, ends, axes
    cropped = graph.node("Slice", [*pixels.output, *map(graph.add, bounds)])
    return [convolution, pixels, cropped]


def _few_channels_as_transposed(graph: Graph, node: "NodeProto") -> "list[NodeProto]":
    """A convolution to an image's channels, such as a decoder's last, as a transposed one.

    Engines compute channels in blocks of 8 or 16, most of which would be idle. A transposed
    convolution is a matrix product with a row for each channel and tap, and a sum of its rows.
    """
    weights = weights_of(graph, node, "Conv")
    if not weights:
        return []
    kernel = weights[0]
    out, into, size = kernel.shape[:3]
    fits = size % 2 and has(node, kernel, square=size, pads=size // 2)
    if not fits or size == 1 or out > _FEW or into < _MANY:
        return []
    reversed_taps = graph.add(kernel[..., ::-1, ::-1].swapaxes(0, 1))
    pads = [size // 2] * 4
    operands = [node.input[0], reversed_taps, *node.input[2:]]
    return [graph.node("ConvTranspose", operands, kernel_shape=[size, size], pads=pads)]


_FORMS: tuple[Form, ...] = get_args(Form)

_Pass = Callable[[Graph, "NodeProto"], "list[NodeProto]"]
"""The nodes that compute what a node computes, the last one its output; none without a match."""

_PASSES: dict[Form, tuple[_Pass, ...]] = {
    "plain": (),
    "folded": (_pixel_as_gemm, _convolution_before_resize, _convolution_of_doubled),
    "subpixel": (_transposed_as_subpixel,),
    "winograd": (winograd, _few_channels_as_transposed),
}
"""What each form does of its own."""

_AFTER: dict[Form, tuple[Form, ...]] = {
    "plain": (),
    "folded": (),
    "subpixel": ("folded",),
    "winograd": ("folded",),
}
"""The forms whose passes are tried on a node that no pass of this form matches."""
