"""Ways to run a row's network, each in a process of its own: `python -m benchmarks.networks.rivals
VARIANT ROW FOLDER ARTIFACT HEIGHTxWIDTH ...` prints images a second and bytes at the peak."""

import json
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch

import runtime
from benchmarks.networks.row import Arrays, plain
from benchmarks.networks.rows import found
from benchmarks.networks.trial import peak, run, size_of
from benchmarks.speed.timing import rate
from runtime.artifact.reading import Artifact, read_artifact
from runtime.artifact.size import Size
from runtime.machine import cores
from runtime.requests.examples import examples_of
from runtime.sampling.streams import Counter

Call = Callable[[str, Arrays, Size], Any]
_SECONDS = 4.0


def _torch(compiled: bool) -> Callable[[str, Path, Artifact], Call]:
    def opened(row: str, folder: Path, artifact: Artifact) -> Call:
        torch.set_num_threads(cores())
        reference = found()[row].reference(folder, torch.compile if compiled else plain)
        return lambda graph, inputs, size: reference(graph, inputs)

    return opened


def _onnxruntime(row: str, folder: Path, artifact: Artifact) -> Call:
    import onnxruntime

    sessions: dict[str, Any] = {
        graph: onnxruntime.InferenceSession(artifact.files[spec.files["fp32"]])
        for graph, spec in artifact.manifest.graphs.items()
    }
    return lambda graph, inputs, size: sessions[graph].run(None, dict(inputs))


def _openvino(**options: str) -> Callable[[str, Path, Artifact], Call]:
    def opened(row: str, folder: Path, artifact: Artifact) -> Call:
        import openvino

        core = openvino.Core()
        models: dict[str, Any] = {
            graph: core.compile_model(
                core.read_model(artifact.files[spec.files["fp32"]]), "CPU", options
            )
            for graph, spec in artifact.manifest.graphs.items()
        }
        return lambda graph, inputs, size: models[graph](dict(inputs))

    return opened


def _ours(precision: Literal["fp32", "auto"]) -> Callable[[str, Path, Artifact], Call]:
    def opened(row: str, folder: Path, artifact: Artifact) -> Call:
        model = runtime.load(artifact, precision=precision)
        return lambda graph, inputs, size: run(model, graph, inputs, size)

    return opened


COMPILE, OURS = "torch.compile", "ours, fp32"
RIVALS: Mapping[str, Callable[[str, Path, Artifact], Call]] = {
    "eager": _torch(compiled=False),
    COMPILE: _torch(compiled=True),
    "ONNX Runtime": _onnxruntime,
    "OpenVINO, fp32": _openvino(INFERENCE_PRECISION_HINT="f32"),
}
"""Of others, on all cores, in fp32."""
VARIANTS: Mapping[str, Callable[[str, Path, Artifact], Call]] = {
    **RIVALS,
    OURS: _ours("fp32"),
    # As it comes, it computes in bf16 where the processor can, whatever that does to images.
    "OpenVINO, as it comes": _openvino(),
    "ours, auto": _ours("auto"),
}


def _one(call: Call, graph: str, inputs: Arrays, size: Size) -> int:
    call(graph, inputs, size)
    return 1


def compete(variant: str, row: str, folder: Path, path: Path, sizes: list[tuple[int, int]]) -> None:
    """Print the figures as JSON."""
    artifact = read_artifact(path)
    call = VARIANTS[variant](row, folder, artifact)
    speeds: dict[str, float] = {}
    for size in sizes:
        for graph in artifact.manifest.graphs:
            chosen = size_of(artifact.manifest, size)
            inputs = examples_of(artifact, Counter(7, 0, 1), chosen, graph=graph)
            call(graph, inputs, chosen)  # the first is not like the others
            one = partial(_one, call, graph, inputs, chosen)
            speeds[f"{graph} {size[0]}x{size[1]}"] = rate(one, _SECONDS)
    print(json.dumps({"speeds": speeds, "bytes": peak()}))


if __name__ == "__main__":
    compete(
        sys.argv[1],
        sys.argv[2],
        Path(sys.argv[3]),
        Path(sys.argv[4]),
        [(int(h), int(w)) for h, _, w in (text.partition("x") for text in sys.argv[5:])],
    )
