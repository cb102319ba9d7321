"""A row's artifact in a process of its own: loaded, timed, and compared with the reference."""

import json
import resource
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

import runtime
from benchmarks.networks.row import Arrays, Reference
from benchmarks.networks.rows import found
from runtime.artifact.golden import differences
from runtime.artifact.reading import read_artifact
from runtime.artifact.size import Size
from runtime.batching.jobs import Job
from runtime.requests.checks import SIZE_AXES
from runtime.requests.examples import examples_of
from runtime.sampling.streams import Counter

_SEED = 5
_SECONDS = 3.0
"""Of one timing, or one image where that takes longer."""


def peak() -> int:
    """Bytes of resident memory that this process has had at most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10


def main(name: str, folder: Path, artifact: Path) -> dict[str, Any]:
    """The figures of one row: seconds of the load, bytes at the peak, images a second and the
    largest difference by graph and size."""
    row = found()[name]
    read = read_artifact(artifact)
    began = time.monotonic()
    with runtime.load(read, precision="fp32") as model:
        loaded = time.monotonic() - began
        sizes = [read.manifest.default_size, *(_size(read.manifest, size) for size in row.sizes)]
        speeds: dict[str, float] = {}
        made: list[tuple[str, Size, Arrays, Arrays]] = []
        for graph in read.manifest.graphs:
            for size in dict.fromkeys(sizes):
                inputs = examples_of(read, Counter(_SEED, 0, 1), size, graph=graph)
                outputs, seconds = _timed(model, graph, inputs, size)
                speeds[f"{graph} {_text(size)}"] = 1 / seconds
                made.append((graph, size, inputs, outputs))
        held = peak()
    return {
        "engine": model.engine,
        "loads in": loaded,
        "bytes": held,
        "images/s": speeds,
        "differences": _compared(row.reference(folder), read, made),
    }


def _timed(model: runtime.Model, graph: str, inputs: Arrays, size: Size) -> tuple[Arrays, float]:
    job: Job[Arrays] = Job(graph, 1, lambda a, b: dict(inputs), lambda o, start: o, size=size)
    outputs = model.submit(job).result()
    began, runs = time.perf_counter(), 0
    while not runs or time.perf_counter() - began < _SECONDS:
        model.submit(job).result()
        runs += 1
    return outputs, (time.perf_counter() - began) / runs


def _compared(
    reference: Reference, read: Any, made: list[tuple[str, Size, Arrays, Arrays]]
) -> dict[str, dict[str, float]]:
    """By graph and size: the largest difference of each output; of floats relative to the largest
    value that was expected."""
    compared: dict[str, dict[str, float]] = {}
    for graph, size, inputs, outputs in made:
        expected = reference(graph, inputs)
        spec = read.manifest.graphs[graph]
        distances = differences(spec, dict(outputs), dict(expected))
        compared[f"{graph} {_text(size)}"] = {
            output: float(distance.max() / _unit(expected[output]))
            for output, distance in distances.items()
        } | {f"std of {name}": float(array.std()) for name, array in expected.items()}
    return compared


def _unit(expected: Any) -> float:
    return 1.0 if expected.dtype.kind in "ui" else float(np.abs(expected).max())


def _size(manifest: runtime.Manifest, size: tuple[int, int]) -> Size:
    named: dict[str, int] = dict(zip(SIZE_AXES, size, strict=True))
    return tuple((name, named.get(name, axis.default)) for name, axis in manifest.axes.items())


def _text(size: Size) -> str:
    return "x".join(str(value) for _, value in size)


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))))
