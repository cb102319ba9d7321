"""Artifacts whose files are in order, but whose graphs take much time or memory."""

from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper

from tests.tiny import replace_file, write_artifact


def write_slow(
    folder: Path, name: str, products: int = 400, side: int = 2048, version: int = 1
) -> Path:
    """A decoder that, for each run, multiplies matrices one after another: each takes 0.1 s or
    more. Its images are those of an ordinary one."""
    # The first one is made from the latents, so that it is no constant that is refused at once.
    nodes = [
        helper.make_node("ReduceMean", ["from_latent"], ["row"], keepdims=1),
        helper.make_node("Reshape", ["row", "column"], ["one"]),
        helper.make_node("Expand", ["one", "square"], ["wide"]),
        helper.make_node("Mul", ["wide", "zero"], ["empty"]),
        helper.make_node("Add", ["empty", "inverse"], ["product0"]),
    ]
    for i in range(products):
        nodes.append(helper.make_node("MatMul", [f"product{i}", "product0"], [f"product{i + 1}"]))
    nodes.append(helper.make_node("ReduceMean", [f"product{products}"], ["value"], keepdims=0))
    weights = [
        numpy_helper.from_array(np.array([1, 1]), "column"),
        numpy_helper.from_array(np.array([side] * 2), "square"),
        _scalar("inverse", 1 / side),
    ]
    return _write(folder, name, nodes, weights, version)


def write_large(folder: Path, name: str, values: int = 1 << 26) -> Path:
    """A decoder that holds so many float32 values an image."""
    nodes = [
        helper.make_node("ReduceMean", ["from_latent"], ["row"], keepdims=1),
        helper.make_node("Reshape", ["row", "column"], ["one"]),
        helper.make_node("Expand", ["one", "wide"], ["many"]),
        helper.make_node("Tanh", ["many"], ["more"]),
        helper.make_node("ReduceMean", ["more"], ["value"], keepdims=0),
    ]
    weights = [
        numpy_helper.from_array(np.array([1, 1]), "column"),
        numpy_helper.from_array(np.array([1, values]), "wide"),
    ]
    return _write(folder, name, nodes, weights)


def _write(
    folder: Path,
    name: str,
    nodes: list[onnx.NodeProto],
    weights: list[onnx.TensorProto],
    version: int = 1,
) -> Path:
    """A tiny decoder whose latents are moved by 0 times `value`, which `nodes` make."""
    artifact = write_artifact(folder, "plain", name=name, version=version)
    model = onnx.load_model(artifact / "decode.onnx")
    graph = model.graph
    first = next(i for i, node in enumerate(graph.node) if node.op_type == "Tanh")
    graph.node[first].input[0] = "moved"
    nodes = [
        *nodes,
        helper.make_node("Mul", ["value", "zero"], ["nothing"]),
        helper.make_node("Add", ["from_latent", "nothing"], ["moved"]),
    ]
    before, after = list(graph.node)[:first], list(graph.node)[first:]
    del graph.node[:]
    graph.node.extend([*before, *nodes, *after])
    graph.initializer.extend([*weights, _scalar("zero", 0.0)])
    onnx.checker.check_model(model)
    replace_file(artifact, "decode.onnx", model.SerializeToString())
    return artifact


def _scalar(name: str, value: float, *shape: int) -> onnx.TensorProto:
    return numpy_helper.from_array(np.full(shape, value, np.float32), name)
