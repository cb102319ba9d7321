"""A row's artifact in a process of its own: loaded, timed, and compared with the reference."""

import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

import runtime
from benchmarks.networks.row import Arrays, Reference, plain
from benchmarks.speed.timing import rate
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
    # Not getrusage: that counts the process that started this one, until it was replaced.
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status["VmHWM"].split()[0]) << 10


def tried(
    name: str, folder: Path, artifact: Path, sizes: Sequence[tuple[int, int]]
) -> dict[str, Any]:
    """The figures of one row at its sizes: seconds of the load, bytes at the peak, images a second
    and the largest difference by graph and size."""
    read = read_artifact(artifact)
    began = time.monotonic()
    with runtime.load(read, precision="fp32") as model:
        loaded = time.monotonic() - began
        others = [size_of(read.manifest, size) for size in sizes]
        speeds: dict[str, float] = {}
        made: list[tuple[str, Size, Arrays, Arrays]] = []
        latents: dict[Size, Any] = {}
        # Encoders first: a decoder with a codebook is given its entries.
        for graph in sorted(read.manifest.graphs, key=lambda name: name != "encode"):
            for size in dict.fromkeys((read.manifest.default_size, *others)):
                inputs = examples_of(read, Counter(_SEED, 0, 1), size, graph=graph)
                if graph == "decode" and size in latents:
                    inputs["latents"] = latents[size]
                outputs, speed = _timed(model, graph, inputs, size)
                speeds[f"{graph} {_text(size)}"] = speed
                made.append((graph, size, inputs, outputs))
                if "codes" in outputs:
                    latents[size] = outputs["latents"]
        held = peak()
    from benchmarks.networks.rows import found  # imports torch, which no server needs

    row = found()[name]
    return {
        "engine": model.engine,
        "loads in": loaded,
        "bytes": held,
        "images/s": speeds,
        "differences": _compared(row.reference(folder, plain), read, made),
    }


def _timed(model: runtime.Model, graph: str, inputs: Arrays, size: Size) -> tuple[Arrays, float]:
    outputs = run(model, graph, inputs, size)
    return outputs, rate(
        lambda: len(next(iter(run(model, graph, inputs, size).values()))), _SECONDS
    )


def run(model: runtime.Model, graph: str, inputs: Arrays, size: Size) -> Arrays:
    """The outputs of one graph, through the model's queue."""
    count = len(next(iter(inputs.values())))
    job: Job[Arrays] = Job(graph, count, lambda a, b: dict(inputs), lambda o, start: o, size=size)
    return model.submit(job).result()


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


def size_of(manifest: runtime.Manifest, size: tuple[int, int]) -> Size:
    """[height, width] as values of the manifest's axes."""
    named: dict[str, int] = dict(zip(SIZE_AXES, size, strict=True))
    return tuple((name, named.get(name, axis.default)) for name, axis in manifest.axes.items())


def _text(size: Size) -> str:
    return "x".join(str(value) for _, value in size)


if __name__ == "__main__":
    row, written, artifact, sizes = sys.argv[1:]
    print(json.dumps(tried(row, Path(written), Path(artifact), json.loads(sizes))))
