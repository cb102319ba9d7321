"""Processor time of one layer in ONNX Runtime as it is exported and by Winograd's products.

One thread, its own processor time: what else the machine does changes that little. Two layers, one
after the other, so that what an engine does between layers is counted once a layer.
"""

import time
from collections.abc import Callable, Sequence
from functools import partial
from statistics import median
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from benchmarks.figures import Figure
from benchmarks.speed.publishing import parser, publish
from benchmarks.speed.raw import session
from benchmarks.speed.timing import interleaved, paired_ratio
from runtime.engines.rewrites import rewrite
from runtime.engines.winograd import known_of
from runtime.machine import cores

SHAPES = ((64, 64, 1), (128, 32, 8), (128, 64, 1), (256, 8, 64), (256, 16, 32), (256, 32, 8))
SHAPES += ((512, 8, 64), (512, 32, 1))
"""Channels, side, images."""
_LAYERS = 2


def main(arguments: Sequence[str]) -> None:
    """`python -m benchmarks convolutions`"""
    options = parser("convolutions", __doc__)
    options.add_argument("--rounds", type=int, help="rounds (default 5; 2 with --quick)")
    chosen = options.parse_args(arguments)
    rounds = chosen.rounds or (2 if chosen.quick else 5)
    figures: list[Figure] = []
    for channels, side, images in SHAPES[:2] if chosen.quick else SHAPES:
        figures += measured(channels, side, images, rounds)
    title = "Processor time of 3x3 convolutions"
    publish(chosen, "convolutions", title, figures, {"cores": cores(), "rounds": rounds})


def measured(channels: int, side: int, images: int, rounds: int) -> list[Figure]:
    """The layer as it is and, where the pass takes it, rewritten."""
    model = network(channels, side)
    known = known_of(model, {}, {})
    forms = {"direct": model, "Winograd": rewrite(model, "winograd", known)}
    draws = np.random.default_rng(0)
    given = draws.standard_normal((images, channels, side, side), dtype=np.float32)
    # As the backend runs them: no more images at once than suit the form.
    most = {"direct": images, "Winograd": min(images, known.images)}
    timed: dict[str, Callable[[], float]] = {}
    for name, form in forms.items():
        call = session(form.SerializeToString(), threads=1)
        timed[name] = partial(_microseconds, call, given, most[name])
        timed[name]()  # memory is claimed
    found = interleaved(timed, rounds)
    subject = f"{channels} channels, {side}x{side}, {images} images"
    if form_is_plain(forms["Winograd"]):
        del found["Winograd"]
    return [
        Figure(
            subject,
            name,
            median(times),
            "us/image",
            1 / paired_ratio(times, found["direct"]),
            "direct",
            rounds=times,
        )
        for name, times in found.items()
    ]


def form_is_plain(model: onnx.ModelProto) -> bool:
    return all(node.op_type != "MatMul" for node in model.graph.node)


def network(channels: int, side: int) -> onnx.ModelProto:
    """Two 3x3 convolutions with a bias, each with a Relu after it; seeded weights."""
    draws = np.random.default_rng(1)
    nodes: list[onnx.NodeProto] = []
    weights: list[onnx.TensorProto] = []
    for number in range(_LAYERS):
        kernel: NDArray[Any] = draws.standard_normal((channels, channels, 3, 3), dtype=np.float32)
        kernel *= np.float32((2 / (9 * channels)) ** 0.5)
        weights.append(numpy_helper.from_array(kernel, f"w{number}"))
        weights.append(numpy_helper.from_array(np.zeros(channels, np.float32), f"b{number}"))
        operands = [f"x{number}", f"w{number}", f"b{number}"]
        nodes.append(helper.make_node("Conv", operands, [f"c{number}"], pads=[1, 1, 1, 1]))
        nodes.append(helper.make_node("Relu", [f"c{number}"], [f"x{number + 1}"]))
    sides = ["batch", channels, side, side]
    graph = helper.make_graph(
        nodes,
        "layers",
        [helper.make_tensor_value_info("x0", TensorProto.FLOAT, sides)],
        [helper.make_tensor_value_info(f"x{_LAYERS}", TensorProto.FLOAT, sides)],
        weights,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def _microseconds(call: Callable[..., Any], given: NDArray[np.float32], most: int) -> float:
    """Of one image and layer, the best of a few runs."""

    def once() -> float:
        began = time.thread_time()
        for start in range(0, len(given), most):
            call(None, {"x0": given[start : start + most]})
        return time.thread_time() - began

    return min(once() for _ in range(3)) / len(given) / _LAYERS * 1e6
